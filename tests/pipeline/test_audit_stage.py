"""What the audit leaves for the extraction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from lazarus_pl.audit import run_audit, survey
from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.data import build_manifest, scan
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.scan import Inspected
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.openvino_graph import OpenVinoGraph
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stages import audit_stage
from lazarus_pl.pipeline.run.stages.audit_stage import AuditStage
from lazarus_pl.pipeline.run.stages.extract_stage import ExtractStage


def test_nothing_is_opened_or_converted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = ProceduralLeaves({"healthy": 13, "rust": 13}, photos_per_leaf=(2, 2), size=64)
    photos = leaves.write(tmp_path / "leaves")
    settings = RunSettings(
        data=photos,
        out=tmp_path / "run",
        encoder=EncoderSpec("test_resnet", "random", 64),
        engine="openvino",
    )
    AuditStage(settings).run({}, None, Schedule())
    # what changes meanwhile is opened all the same
    changed, *others = sorted((photos / "rust").iterdir())
    changed.write_bytes(others[0].read_bytes() + b"\0")
    opened: list[Path] = []
    inspect = survey.inspect_photo

    def noted(path: Path, *item: object) -> Inspected:
        opened.append(path)
        return inspect(path, *item)  # type: ignore[arg-type]

    def convert(graph: OpenVinoGraph) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(scan, "inspect_photo", noted)
    monkeypatch.setattr(OpenVinoGraph, "_converted", convert)
    ExtractStage(settings).run({}, None, Schedule())
    assert opened == [changed]
    assert len(Manifest.read(settings.cache).photos) == 52


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    """Of an audit that takes no time."""

    def audited(_: Path, folder: Path, engines: Path | None, **__: object) -> dict[str, object]:
        folder.mkdir(parents=True)
        if engines:
            engines.mkdir(parents=True)
        return {"costs": [], "costs_4gb": [], "rates": {}}

    monkeypatch.setattr(run_audit, "run_audit", audited)
    monkeypatch.setattr(survey, "known_photos", lambda _: [])
    (tmp_path / "leaves").mkdir()
    return RunSettings(data=tmp_path / "leaves", out=tmp_path / "run")


def _holds_other_files(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "notes.txt").write_text("mine")


def _is_a_file(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("mine")


def _is_finished(cache: Path) -> None:
    cache.mkdir(parents=True)
    Manifest(()).write(cache)


def _is_at_work(cache: Path) -> FileLock:
    lock = JobFolder.lock_of(cache)
    lock.acquire()
    return lock


@pytest.mark.parametrize(
    ("before", "added"),
    [
        (_holds_other_files, set()),
        (_is_a_file, set()),
        (_is_finished, {"engine", "locks"}),
        (_is_at_work, {"engine"}),
    ],
)
def test_nothing_is_left_in_a_folder_that_does_not_wait_for_it(
    before: Callable[[Path], object], added: set[str], settings: RunSettings
) -> None:
    cache = settings.cache
    held = before(cache)
    there = {path.name for path in cache.glob("*")}
    AuditStage(settings).run({}, None, Schedule())
    assert {path.name for path in cache.glob("*")} - there == added
    assert (settings.out / "audit" / "costs.json").is_file()
    del held


def test_photos_that_cannot_be_left_do_not_fail_the_audit(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(settings.cache))

    monkeypatch.setattr(build_manifest, "leave_scan", refuse)
    monkeypatch.setattr(audit_stage, "leave_scan", refuse, raising=False)
    AuditStage(settings).run({}, None, Schedule())
    assert (settings.out / "audit" / "costs.json").is_file()
