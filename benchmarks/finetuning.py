"""Fine-tuning from a cached grid beside the usual ways.

    python benchmarks/finetuning.py --data PHOTOS --field FIELD --out WORK

All start from the same packaged weights and learn from the same leaf-separated split:

- ``head``: the attention head of ``configs/heads/attention.yaml`` on cached features; what is
  fine-tuned. Its seconds include the extraction.
- ``lazarus``: ``configs/finetune/progressive.yaml`` from that head. Its seconds include the head's.
- ``lazarus + views``: the same, seven of ten photos in one of six cached views (``light``). Its
  seconds include the extraction of the views.
- the ways of other libraries in ``peers.py``; those that are not installed are left out.

``far`` repeats it all on the first 40 % of each range (``far_split.py``), with test the same;
``session-0`` and ``session-1`` on all sessions of camera numbers but one of each class that has
several, with those as test (``session_split.py``).

What is done in WORK is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from further_split import FURTHER, further_table
from peers import PEERS, is_installed, train_peer
from report import Row, report
from scored_photos import Photos, encoded, score, test_side

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.lightning_cli import run_lightning
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.views.views_spec import ViewsSpec

_BATCH = 32
_VIEWS = ViewsSpec(6, "light")
_SPLITS = ("test", *FURTHER)
_WAYS = ("head", "lazarus", "lazarus + views", *PEERS)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--field", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="of the peers")
    parser.add_argument("--ways", nargs="*", default=_WAYS)
    parser.add_argument("--only", nargs="*", default=["test", "far"], choices=_SPLITS)
    options = parser.parse_args()
    for side in options.only:
        rows = list(_compare(options, side))
        report(f"finetuning_{side}", rows, {"peers' epochs": options.epochs, "split": side})


def _compare(options: argparse.Namespace, side: str) -> Iterator[Row]:
    cache, data = options.out / "cache", options.data
    split, root = SplitSpec(), data
    seconds = _extract(data, cache, split)
    if side != "test":
        data = further_table(side, data, cache, options.out / f"{side}.csv")
        split, root = SplitSpec("predefined"), Path()
        cache = options.out / f"{data.stem}-cache"
        seconds = _extract(data, cache, split)
    folder, field = options.out / side, encoded(options.field)
    head, of_head = _head(cache, folder)
    seconds += of_head
    for way in options.ways:
        if way == "head":
            yield _row(way, head, cache, seconds, field)
        elif way == "lazarus":
            yield _row(way, *_lazarus(cache, head, folder / "lazarus", seconds), field=field)
        elif way == "lazarus + views":
            more = seconds + _extract(data, cache, split, _VIEWS)
            drawn = ("--data.init_args.views=all", "--data.init_args.plain_weight=0.3")
            policy = f"--data.init_args.views_policy={_VIEWS.policy}"
            tuned = _lazarus(cache, head, folder / "views", more, *drawn, policy)
            yield _row(way, *tuned, field=field)
        elif is_installed(way):
            yield train_peer(way, root, cache, options.field, folder, options.epochs)


def _extract(data: Path, out: Path, split: SplitSpec, views: ViewsSpec | None = None) -> float:
    """The seconds that it took when it was done."""
    started = time.perf_counter()
    Extraction(data, out, EncoderSpec(), split, make_engine, views=views, say=print).run()
    took = time.perf_counter() - started
    known = out.parent / f"{out.name}-{'views' if views else 'plain'}-seconds.json"
    before = json.loads(known.read_text()) if known.exists() else 0.0
    # what is there is only looked through
    known.write_text(json.dumps(max(took, before)))
    return max(took, float(before))


def _head(cache: Path, out: Path) -> tuple[Path, float]:
    return _fitted("heads/attention.yaml", cache, out / "head")


def _lazarus(
    cache: Path, start: Path, out: Path, seconds: float, *extra: str
) -> tuple[Path, Path, float]:
    begin = f"--model.init_args.start={start}"
    tuned, more = _fitted("finetune/progressive.yaml", cache, out, begin, *extra)
    return tuned, cache, seconds + more


def _fitted(config: str, cache: Path, out: Path, *extra: str) -> tuple[Path, float]:
    """Its best checkpoint, and the seconds that the whole run took."""
    done = out / "seconds.json"
    if not done.exists():
        started = time.perf_counter()
        run_lightning(
            [
                *("fit", "-c", str(shipped_config(config)), f"--data.init_args.cache={cache}"),
                *(f"--trainer.default_root_dir={out}", "--trainer.enable_progress_bar=false"),
                *("--trainer.enable_model_summary=false", *extra),
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
