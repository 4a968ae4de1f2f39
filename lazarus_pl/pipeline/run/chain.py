"""All stages, one after the other."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lazarus_pl.data.atomic import NOTHING_CAN_BE_WRITTEN
from lazarus_pl.duration import say_duration
from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.run.budget import Budget
from lazarus_pl.pipeline.run.peak_memory import PeakMemory
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome
from lazarus_pl.pipeline.run.stage_record import StageRecord, sizes
from lazarus_pl.progress import show_beside

_LOG = logging.getLogger(__name__)
COSTS = Path("audit", "costs.json")


class Chain:
    """Does what is left to do, and keeps a record of every stage.

    A stage whose inputs have not changed and whose files are there is not repeated, unless a part
    of it failed. One that fails does not stop the others, unless nothing can be had without it.

    Args:
        stages: In their order.
        out: The run's folder.
        budget: What all of it may take.
    """

    def __init__(self, stages: Sequence[Stage], out: Path, budget: Budget) -> None:
        self._stages = stages
        self._out = out
        self._budget = budget.seconds
        self._gpu_bytes = budget.gpu_bytes
        self._schedule = Schedule(self._budget)
        self._records: dict[str, StageRecord] = {}
        self._audits = any(stage.name == "audit" for stage in stages)

    def run(self) -> dict[str, StageRecord]:
        """Runs the stages.

        Returns:
            Their records by name.

        Raises:
            LazarusError: If a vital stage fails.
            OSError: If the disk is full or read-only; what was done stays done.
        """
        left, unsure = self._left()
        self._expect(left)
        self._announce(left, unsure)
        with show_beside(lambda: str(self._schedule)):
            for number, stage in enumerate(self._stages, start=1):
                digest = stage.digest(self._records)
                record = self._unchanged(stage, digest)
                may_change = bool(unsure) and record is None
                if record is None:
                    record = self._barred(stage, digest) or self._do(stage, digest, number)
                self._records[stage.name] = record
                self._schedule.end(stage.name, record.seconds)
                if stage.name == "audit" and stage in left:
                    self._look_ahead(left[1:])
                elif may_change:
                    now, unsure = self._left()
                    self._expect([later for later in self._stages[number:] if later in now])
                barred = (later.name for later in self._stages[number:] if self._lacks(later))
                self._schedule.drop(barred)
        return self._records

    def _left(self) -> tuple[list[Stage], dict[str, str]]:
        """Stages that are to be done, as far as can be told before the first one.

        Returns:
            Those, and the names of stages that are to be done only if another one, whose name
            stands beside, gives something else when it is tried again.
        """
        records: dict[str, StageRecord] = {}
        left: list[Stage] = []
        tried: dict[str, str] = {}
        for stage in self._stages:
            known = self._known(stage, stage.digest(records))
            changed = {other.name for other in left} - tried.keys()
            needed = stage.needed(records)
            if known is None or changed.intersection(needed):
                left.append(stage)
                continue
            records[stage.name] = known
            if known.retry:
                left.append(stage)
                tried[stage.name] = stage.name
            for need in needed:
                if need in tried:
                    tried.setdefault(stage.name, tried[need])
        return left, {name: again for name, again in tried.items() if name != again}

    def _known(self, stage: Stage, digest: str) -> StageRecord | None:
        """What came of it before, be it that a part of it is tried again."""
        record = StageRecord.read(self._out, stage.name)
        held = record is not None and record.holds(self._out, digest, self._budget)
        return record if held else None

    def _unchanged(self, stage: Stage, digest: str) -> StageRecord | None:
        record = self._known(stage, digest)
        return None if record is None or record.retry else record

    def _expect(self, left: Sequence[Stage]) -> None:
        costs = read_costs(self._out)
        self._schedule.expect({stage.name: stage.estimate(costs) for stage in left})

    def _announce(self, left: Sequence[Stage], unsure: Mapping[str, str]) -> None:
        if not left:
            _say(f"  nothing has changed: all {len(self._stages)} stages were done before")
            return
        costs = read_costs(self._out)
        for number, stage in enumerate(self._stages, start=1):
            state = _will_take(stage.estimate(costs)) if stage in left else "done, unchanged"
            if stage.name in unsure:
                state = f"only if {unsure[stage.name]} changes"
            _say(f"  {number:2} {stage.name:10} {stage.title:58} {state}")
        self._say_whole()

    def _look_ahead(self, left: Sequence[Stage]) -> None:
        """After the audit: how long the rest will take on this machine."""
        self._expect(left)
        costs = read_costs(self._out)
        if not costs:
            return
        times = (f"{stage.name} {_will_take(stage.estimate(costs))}" for stage in left)
        _say(f"  by the audit's trials: {', '.join(times)}")
        self._say_whole()

    def _say_whole(self) -> None:
        left = self._schedule.left
        later = "known after the audit" if self._audits else "as long as it takes"
        whole = f"  in all {f'about {say_duration(left)}' if left else later}"
        limit = f", of {say_duration(self._budget)} that the budget allows" if self._budget else ""
        _say(f"{whole}{limit}")
        if self._budget and left and left > self._budget - self._schedule.spent:
            _say("  what is trained again and fine-tuning are cut first, then views and their head")

    def _lacks(self, stage: Stage) -> str:
        """A stage that failed and without which this one cannot be done, if there is one."""
        known = (self._records.get(name) for name in stage.requires)
        return next((each.stage for each in known if each and each.state == "failed"), "")

    def _barred(self, stage: Stage, digest: str) -> StageRecord | None:
        """What is noted of a stage that cannot be done, so that the next call tries it."""
        lacks = self._lacks(stage)
        if not lacks:
            return None
        note = f"cannot be done without {lacks}, which failed"
        record = StageRecord(stage.name, "failed", digest, note=note)
        record.write(self._out)
        _say(f"      {stage.name} {note}")
        return record

    def _do(self, stage: Stage, digest: str, number: int) -> StageRecord:
        _say(f"[{number}/{len(self._stages)}] {stage.name}: {stage.title}")
        estimate = stage.estimate(read_costs(self._out))
        self._schedule.begin(stage.name)
        later = [other.name for other in self._stages[number:] if not other.can_be_cut]
        allowed = None if stage.vital else self._schedule.allowed(later)
        self._limit_memory()
        started = time.monotonic()
        with PeakMemory() as memory:
            outcome, error = self._attempt(stage, allowed)
        record = StageRecord(
            stage=stage.name,
            state="failed" if error else outcome.state,
            digest=digest,
            output=outcome.output,
            files=sizes(outcome.files, self._out),
            seconds=round(time.monotonic() - started, 2),
            peak_rss_mb=round(memory.rss_mb, 1),
            peak_gpu_mb=None if memory.gpu_mb is None else round(memory.gpu_mb, 1),
            estimate=None if estimate is None else round(estimate, 1),
            budget=self._budget if outcome.state in ("shortened", "left out") else None,
            note=error or outcome.note,
            retry=outcome.retry,
        )
        record.write(self._out)
        self._say_end(record)
        return record

    def _limit_memory(self) -> None:
        if self._gpu_bytes is None:
            return
        # torch is not loaded where nothing is to be done
        from callbacks.gpu_memory import cap_gpu_memory

        cap_gpu_memory(self._gpu_bytes)

    def _attempt(self, stage: Stage, allowed: float | None) -> tuple[StageOutcome, str]:
        if stage.vital:
            return stage.run(self._records, allowed, self._schedule), ""
        try:
            return stage.run(self._records, allowed, self._schedule), ""
        # whatever a late stage dies of, what there is is worth a report
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NOTHING_CAN_BE_WRITTEN:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            if not isinstance(error, LazarusError):
                reason = f"{type(error).__name__}: {reason}"
            _LOG.debug("", exc_info=error)
            return StageOutcome(), reason

    def _say_end(self, record: StageRecord) -> None:
        if record.state == "failed":
            _LOG.warning("%s failed, and the rest goes on: %s", record.stage, record.note)
            return
        left = str(self._schedule) if record.stage != self._stages[-1].name else ""
        parts = [f"{say_duration(record.seconds)}, {record.peak_rss_mb:,.0f} MB", record.note]
        _say(f"      {'; '.join(part for part in (*parts, left) if part)}")


def read_costs(out: Path) -> dict[str, float]:
    """Seconds by stage as a run's audit estimated them; nothing where it did not."""
    try:
        content = json.loads((out / COSTS).read_bytes())
        return {row["stage"]: float(row["seconds"]) for row in content["costs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _will_take(seconds: float | None) -> str:
    return "as long as it takes" if seconds is None else f"about {say_duration(seconds)}"


def _say(text: str) -> None:
    print(text, flush=True)
