"""Seconds and memory of each step on a GPU, under a cap, in float32, bfloat16 and float16.

    python benchmarks/gpu.py --data PHOTOS --out WORK --gpu_memory 4GB

The cap holds for the whole process: what needs more fails. ``gpu_mb`` is the most that torch's
allocator held. The plain loop is that of ``extraction.py``: timm, its transform, PIL, a DataLoader
with two workers, batch 64, float32, pooled features only, on the same GPU. The grid are the nine
shipped heads, fine-tuning begins with the grid's best in that precision and takes three epochs.
Views are counted two a photo of train, made in processes and then in threads.
WORK is an empty folder.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import timm
import torch
import yaml
from extraction import plain_loop
from report import Row, report

from callbacks.gpu_memory import cap_gpu_memory
from lazarus_pl.cache import view_workers
from lazarus_pl.cli import main as lazarus
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.memory_amount import read_memory
from lazarus_pl.shipped_config import shipped_config
from lazarus_pl.tasks.read_checkpoint import read_checkpoint

# of each photo of train
_COUNT = 2
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="class folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gpu_memory", type=read_memory, default=read_memory("4GB"))
    options = parser.parse_args()
    cap_gpu_memory(options.gpu_memory)
    root, listed = list_photos(options.data)
    paths = [root / item.path for item in listed if item.looks_like_a_photo]
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    rows = [_plain_loop(paths, plain.eval().cuda())]
    cache = options.out / "cache-16"
    # float16 twice: the first use of a GPU builds what is kept
    for precision, folder in (("32", "cache-32"), ("16", "cache-first"), ("16", "cache-16")):
        words = ("--data", options.data, "--out", options.out / folder, "--precision", precision)
        rows.append(_row("extract", precision, partial(_lazarus, "extract", *words), len(paths)))
    rows += _views(options.data, cache)
    for precision in _PRECISIONS:
        out = options.out / precision
        rows.append(_row("nine heads", precision, partial(_grid, cache, precision, out)))
        fit = partial(_fit, cache, precision)
        patches = partial(fit, "patches/patches.yaml", out / "patches")
        rows.append(_row("patches", precision, patches))
        start = f"--model.init_args.start={out / 'grid' / 'best.ckpt'}"
        finetune = partial(fit, "finetune/progressive.yaml", out / "finetune", start)
        rows.append(_row("fine-tuning", precision, finetune))
    card = torch.cuda.get_device_name()
    about = {"photos": len(paths), "gpu": card, "cap_mb": options.gpu_memory / 1e6}
    report("gpu", rows, about)


def _row(
    what: str, precision: str, do: Callable[[], float | None], photos: int | None = None
) -> Row:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    score = do()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    row: Row = {
        "what": what,
        "precision": precision,
        "seconds": seconds,
        "photos_per_second": photos / seconds if photos else "",
        "gpu_mb": torch.cuda.max_memory_reserved() / 1e6,
        "val_macro_f1": "" if score is None else score,
    }
    # what is known stays known if a later step fails
    print(row, flush=True)
    return row


def _plain_loop(paths: list[Path], model: torch.nn.Module) -> Row:
    class OnGpu(torch.nn.Module):
        pretrained_cfg: Any = model.pretrained_cfg

        def forward(self, photos: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = model(photos.cuda())
            return features.cpu()

    wrapped = OnGpu()
    plain_loop(paths[:64], wrapped)
    return _row("plain loop", "32", lambda: plain_loop(paths, wrapped), len(paths))


def _views(photos: Path, cache: Path) -> list[Row]:
    """Views in processes and in threads, each as many as are made in processes by themselves."""
    rows: list[Row] = []
    for what, many in (("views", 1), ("views in threads", 10**9)):
        words = ("--data", photos, "--out", cache, "--precision", "16", "--views.policy", "field")
        number = _COUNT * len(Manifest.read(cache).side("train"))
        asked = (*words, "--views.count", _COUNT, "--views.seed", len(rows))
        with mock.patch.object(view_workers, "_MANY", many):
            rows.append(_row(what, "16", partial(_lazarus, "extract", *asked), number))
    return rows


def _lazarus(*words: object) -> None:
    if code := lazarus([str(word) for word in words]):
        raise SystemExit(code)


def _grid(cache: Path, precision: str, folder: Path) -> float:
    """The nine runs' best score on val."""
    content = yaml.safe_load(shipped_config("grids/heads_3x3.yaml").read_text(encoding="utf-8"))
    names = ("linear", "mlp", "attention")
    content["configs"] = {
        name: str(shipped_config(f"heads/{name}.yaml").resolve()) for name in names
    }
    content["overrides"] = {"trainer.precision": precision}
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    _lazarus("grid", "-c", folder / "grid.yaml", "--cache", cache, "--out", folder / "grid")
    with (folder / "grid" / "leaderboard.csv").open(encoding="utf-8") as file:
        return max(float(row["val_macro_f1"]) for row in csv.DictReader(file))


def _fit(cache: Path, precision: str, config: str, out: Path, *more: str) -> float:
    _lazarus(
        *("fit", "-c", shipped_config(config), f"--data.init_args.cache={cache}", *more),
        *(f"--trainer.default_root_dir={out}", f"--trainer.precision={precision}"),
        *("--trainer.enable_progress_bar=false", "--trainer.max_epochs=3"),
    )
    content = read_checkpoint(next(out.rglob("best.ckpt")))
    return float(content["lazarus"]["scores"]["val/macro_f1"])


if __name__ == "__main__":
    main()
