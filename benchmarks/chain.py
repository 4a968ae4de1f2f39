"""The whole chain beside fine-tuning the whole network from photos.

    python benchmarks/chain.py --data PHOTOS --field FIELD --out WORK

In one run, one after the other, on the same split from the same packaged weights:

- ``full``: plain Lightning, the whole network from photos, as in ``finetuning.py``; its seconds end
  at its best epoch on val. Its scores after every epoch are a second table.
- ``full, on val too``: the same once more on train and val together, for as many epochs.
- ``run``: ``lazarus run`` as it is shipped, from photos to the report, which trains the chosen
  model once more on train and val.
- ``run, no fine-tuning`` and ``run, plain heads``: the same with ``--finetune.skip``, and with
  ``--views.count 0`` too.

``share`` is the time of each as a share of ``full``'s. What is done in WORK is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from peers import ON_VAL_TOO, train_peer
from report import Row, folder_of, report

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.make_engine import make_engine

_CHAINS: dict[str, tuple[str, ...]] = {
    "run, plain heads": ("--finetune.skip", "--views.count", "0"),
    "run, no fine-tuning": ("--finetune.skip",),
    "run": (),
}


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--field", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6, help="of full")
    options = parser.parse_args()
    # full needs the split only
    cache = options.out / "cache"
    Extraction(options.data, cache, EncoderSpec(), SplitSpec(), make_engine, say=print).run()
    seconds = {name: _run(options.data, options.out, name) for name in _CHAINS}
    asked = (options.data, cache, options.field, options.out, options.epochs)
    full, both = (train_peer(name, *asked) for name in ("full", ON_VAL_TOO))
    curve: list[Row] = json.loads((options.out / "full" / "curve.json").read_bytes())
    rows: list[Row] = [
        _told("full", full["val"], full["test"], full["seconds"], full),
        _told(ON_VAL_TOO, "", both["test"], both["seconds"], full),
    ]
    for name in _CHAINS:
        summary = json.loads((folder_of(options.out, name) / "summary.json").read_bytes())
        val, test = summary["val_macro_f1"], summary["test_macro_f1"]
        rows.append(_told(name, val, test, seconds[name], full))
    about = {"epochs of full": options.epochs}
    report("chain", rows, about)
    report("chain_full", curve, about)


def _told(
    way: str, val: str | float, test: str | float, seconds: str | float, full: Row
) -> dict[str, str | int | float]:
    share = float(seconds) / float(full["seconds"])
    return {"way": way, "val": val, "test": test, "seconds": seconds, "share": share}


def _run(data: Path, out: Path, name: str) -> float:
    """The seconds that the chain took when it was done."""
    folder = folder_of(out, name)
    known = folder.with_suffix(".json")
    if not known.exists():
        started = time.perf_counter()
        verb = (sys.executable, "-m", "lazarus_pl", "run", "--data", data, "--out", folder)
        subprocess.run([*verb, *_CHAINS[name]], check=True)
        known.write_text(json.dumps(time.perf_counter() - started))
    return float(json.loads(known.read_text()))


if __name__ == "__main__":
    main()
