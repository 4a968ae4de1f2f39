"""The main job on real photos: runs where ``LAZARUS_REAL_DATA`` names them."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.assign_splits import assign_splits
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus

pytestmark = pytest.mark.real_data

# of a class
PHOTOS = 60


def test_no_known_leaf_is_on_two_sides(real_data: Path) -> None:
    _, listed = list_photos(real_data / "plantvillage-mini")
    photos = [
        Photo(item.path, item.label, 1, item.path, 256, 256, f"{number:016x}", 0)
        for number, item in enumerate(listed)
    ]
    side = {Path(p.path).name: p.split for p in assign_splits(photos, SplitSpec())}
    leaves: dict[str, set[str]] = defaultdict(set)
    with (real_data / "plantvillage-mini-leaves.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["leaf_id"]:
                leaves[f"{row['class']}/{row['leaf_id']}"].add(side[row["file"]])
    assert len(leaves) > 100
    cut = {leaf: sides for leaf, sides in leaves.items() if len(sides - {"unused"}) > 1}
    assert not cut


@pytest.mark.slow
def test_the_main_job_on_a_slice(real_data: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    folders = sorted(
        path
        for path in (real_data / "plantvillage-mini").iterdir()
        if path.name.startswith(("Potato", "Corn"))
    )
    photos, few = tmp_path / "photos", tmp_path / "few"
    for folder in folders:
        (photos / folder.name).mkdir(parents=True)
        taken = sorted(folder.iterdir(), key=_number)[:PHOTOS]
        for path in taken:
            shutil.copy(path, photos / folder.name)
        (few / folder.name).mkdir(parents=True)
        shutil.copy(taken[0], few / folder.name)
    cache, out = tmp_path / "cache", tmp_path / "run"
    done = lazarus("extract", "--data", photos, "--out", cache)
    assert done.code == 0, done.err
    config = shipped_config("grids/heads_3x3.yaml")
    done = lazarus("grid", "-c", config, "--cache", cache, "--out", out)
    assert done.code == 0, done.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["classes"] == len(folders) >= 5
    assert summary["val_macro_f1"] > 0.8
    assert summary["test_macro_f1"] > 0.7
    done = lazarus(
        *("classify", "--ckpt", out / "best.ckpt", "--data", few),
        *("--out", tmp_path / "predictions.csv"),
    )
    assert done.code == 0, done.err
    assert "macro-F1" in done.out


def _number(path: Path) -> str:
    return path.name.rsplit("___", maxsplit=1)[-1]
