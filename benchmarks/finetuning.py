"""Fine-tuning from a cached grid beside the usual ways.

    python benchmarks/finetuning.py --data PHOTOS --field FIELD --out WORK

All start from the same packaged weights and learn from the same leaf-separated split:

- ``head``: the attention head of ``configs/heads/attention.yaml`` on cached features; what is
  fine-tuned. Its seconds include the extraction.
- ``lazarus``: ``configs/finetune/progressive.yaml`` from that head. Its seconds include the head's.
- ``lazarus + views``: the same, seven of ten photos in one of six cached views (``light``). Its
  seconds include the extraction of the views.
- ``head on views``: the attention head of ``configs/heads/attention_views.yaml`` on three cached
  views (``field``). Its seconds include their extraction.
- ``lazarus run`` and ``lazarus run, last epoch``: the fine-tuning from that head on those views, as
  ``lazarus run`` does it: the epoch that is best on val, and the last one.
- the ways of other libraries in ``peers.py``; those that are not installed are left out.

``far`` repeats it all on the first 40 % of each range (``far_split.py``), with test the same;
``session-0`` and ``session-1`` on all sessions of camera numbers but one of each class that has
several, with those as test (``session_split.py``).

With ``--seeds`` scores of lazarus' own ways are means over seeds with 95 % intervals (Student's t).
What is done in WORK is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from further_split import FURTHER, further_table
from peers import PEERS, is_installed, train_peer
from report import Row, half_width, report
from scored_photos import Photos, encoded, score, test_side

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.lightning_cli import run_lightning
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.views.views_spec import ViewsSpec

_BATCH = 32
_LIGHT, _FIELD = ViewsSpec(6, "light"), ViewsSpec(3, "field")
_SPLITS = ("test", *FURTHER)
_OWN = (
    *("head", "lazarus", "lazarus + views"),
    *("head on views", "lazarus run", "lazarus run, last epoch"),
)
_WAYS = (*_OWN, *PEERS)
# which views a way learns from
_VIEWS = {
    "lazarus + views": _LIGHT,
    "head on views": _FIELD,
    "lazarus run": _FIELD,
    "lazarus run, last epoch": _FIELD,
}


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--field", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="of the peers")
    parser.add_argument("--seeds", type=int, default=1, help="of lazarus' own ways")
    parser.add_argument("--ways", nargs="*", default=_WAYS)
    parser.add_argument("--only", nargs="*", default=["test", "far"], choices=_SPLITS)
    options = parser.parse_args()
    for side in options.only:
        rows = list(_compare(options, side))
        # the peers have one seed
        rows = [{column: row.get(column, "") for column in rows[0]} for row in rows]
        about = {"peers' epochs": options.epochs, "split": side, "seeds": options.seeds}
        report(f"finetuning_{side}", rows, about)


def _compare(options: argparse.Namespace, side: str) -> Iterator[Row]:
    cache, data = options.out / "cache", options.data
    split, root = SplitSpec(), data
    seconds = _extract(data, cache, split)
    if side != "test":
        data = further_table(side, data, cache, options.out / f"{side}.csv")
        split, root = SplitSpec("predefined"), Path()
        cache = options.out / f"{data.stem}-cache"
        seconds = _extract(data, cache, split)
    folder = options.out / side
    own = [way for way in options.ways if way in _OWN]
    field = encoded(options.field)
    asked = dict.fromkeys(_VIEWS[way] for way in own if way in _VIEWS)
    views = {spec: _extract(data, cache, split, spec) for spec in asked}
    for way in own:
        before = seconds + (views[_VIEWS[way]] if way in _VIEWS else 0.0)
        rows = [
            _row(way, checkpoint, cache, before + took, field)
            for checkpoint, took in (
                _own(way, cache, folder, seed) for seed in range(options.seeds)
            )
        ]
        yield _mean(rows)
    for way in options.ways:
        if way not in _OWN and is_installed(way):
            yield train_peer(way, root, cache, options.field, folder, options.epochs)


def _own(way: str, cache: Path, folder: Path, seed: int) -> tuple[Path, float]:
    """A checkpoint of one of lazarus' ways, and the seconds of all trainings that lead to it."""
    views, folder = _VIEWS.get(way), folder / f"seed{seed}"
    of_views = folder / _name(views)
    drawn = _drawn(views) if views else ()
    if views == _FIELD:
        start = _fitted("heads/attention_views.yaml", cache, of_views / "head", seed, *drawn)
    else:
        start = _fitted("heads/attention.yaml", cache, folder / _name(None) / "head", seed)
    if way.startswith("head"):
        return start
    begin = (f"--model.init_args.start={start[0]}", *drawn)
    more = ("--data.init_args.plain_weight=0.3",) if views else ()
    out = of_views / way.removesuffix(", last epoch")
    tuned, took = _fitted("finetune/progressive.yaml", cache, out, seed, *begin, *more)
    return tuned.with_name("last.ckpt") if way.endswith("last epoch") else tuned, start[1] + took


def _name(views: ViewsSpec | None) -> str:
    return f"{views.policy}-{views.count}" if views else "plain"


def _drawn(views: ViewsSpec) -> tuple[str, ...]:
    return (
        f"--data.init_args.views={views.count}",
        f"--data.init_args.views_policy={views.policy}",
    )


def _mean(rows: Sequence[Row]) -> Row:
    """One row of the same way with several seeds."""
    mean: dict[str, str | int | float] = {"way": rows[0]["way"]}
    for name in list(rows[0])[1:]:
        values = [float(row[name]) for row in rows]
        mean[name] = float(np.mean(values))
        if len(rows) > 1 and name != "seconds":
            mean[f"{name} ±"] = half_width(values)
    return mean


def _extract(data: Path, out: Path, split: SplitSpec, views: ViewsSpec | None = None) -> float:
    """The seconds that it took when it was done."""
    started = time.perf_counter()
    Extraction(data, out, EncoderSpec(), split, make_engine, views=views, say=print).run()
    took = time.perf_counter() - started
    known = out.parent / f"{out.name}-{_name(views)}-seconds.json"
    before = json.loads(known.read_text()) if known.exists() else 0.0
    # what is there is only looked through
    known.write_text(json.dumps(max(took, before)))
    return max(took, float(before))


def _fitted(config: str, cache: Path, out: Path, seed: int, *extra: str) -> tuple[Path, float]:
    """Its best checkpoint, and the seconds that the whole run took."""
    done = out / "seconds.json"
    if not done.exists():
        started = time.perf_counter()
        run_lightning(
            [
                *("fit", "-c", str(shipped_config(config)), f"--data.init_args.cache={cache}"),
                *(f"--trainer.default_root_dir={out}", "--trainer.enable_progress_bar=false"),
                *("--trainer.enable_model_summary=false", f"--seed_everything={seed}", *extra),
            ]
        )
        done.write_text(json.dumps(time.perf_counter() - started))
    best = max(out.glob("lightning_logs/*/checkpoints/best.ckpt"))
    return best, float(json.loads(done.read_text()))


def _row(name: str, checkpoint: Path, cache: Path, seconds: float, field: Photos) -> Row:
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return {
        "way": name,
        "val": content["lazarus"]["scores"]["val/macro_f1"],
        "test": score(checkpoint, test_side(cache)),
        "field": score(checkpoint, field),
        "seconds": seconds,
    }


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
