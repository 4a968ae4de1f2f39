from __future__ import annotations

import csv
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lazarus_pl.data.leaf_name import LeafName
from lazarus_pl.data.procedural.leaf_blade import COLUMNS, ROWS, LeafBlade
from lazarus_pl.data.procedural.procedural_leaves import LEAVES, ProceduralLeaves
from lazarus_pl.data.procedural.symptoms import SYMPTOMS
from lazarus_pl.errors import LazarusError


def test_seven_imbalanced_classes_with_several_photos_a_leaf() -> None:
    leaves = ProceduralLeaves()
    assert set(LEAVES) == set(SYMPTOMS)
    counts = Counter(shot.label for shot in leaves.shots)
    assert max(counts.values()) > 3 * min(counts.values())
    per_leaf = Counter((shot.label, shot.leaf) for shot in leaves.shots)
    assert set(per_leaf.values()) == {3, 4, 5}


def test_deterministic_by_seed_in_any_order() -> None:
    first, again, other = (ProceduralLeaves(size=64, seed=seed) for seed in (1, 1, 2))
    places = [0, 200, 400]
    drawn = {place: first.draw(place).pixels for place in places}
    for place in reversed(places):
        assert np.array_equal(again.draw(place).pixels, drawn[place])
        assert not np.array_equal(other.draw(place).pixels, drawn[place])


@pytest.mark.parametrize("label", SYMPTOMS)
def test_the_mask_is_where_the_symptoms_are(label: str) -> None:
    """The same leaf drawn without its disease differs inside the mask, hardly outside."""
    ill = LeafBlade.grow(np.random.default_rng(5))
    well = LeafBlade.grow(np.random.default_rng(5))
    SYMPTOMS[label](ill, np.random.default_rng(6))
    on_leaf = ill.alpha > 0.5
    mask = (ill.lesions > 0.5) & on_leaf
    change = np.abs(ill.colour - well.colour).sum(axis=-1)
    if label == "healthy":
        assert not mask.any()
        assert change.max() == 0
        return
    assert 0.003 < mask.sum() / on_leaf.sum() < 0.7
    assert change[mask].mean() > 2 * change[on_leaf & ~mask].mean()


def test_photos_of_a_leaf_show_the_same_share_of_symptoms() -> None:
    leaves = ProceduralLeaves({"early_blight": 6}, photos_per_leaf=(3, 3), seed=4)
    shares: dict[int, list[float]] = defaultdict(list)
    for index, shot in enumerate(leaves.shots):
        drawn = leaves.draw(index)
        assert not (drawn.lesions & ~drawn.leaf).any()
        shares[shot.leaf].append(drawn.lesions.sum() / drawn.leaf.sum())
    within = np.mean([np.std(values) for values in shares.values()])
    between = np.std([np.mean(values) for values in shares.values()])
    assert within < between / 3


def test_background_and_light_do_not_tell_the_class() -> None:
    """Border pixels must not be worth more than chance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    leaves = ProceduralLeaves(dict.fromkeys(SYMPTOMS, 24), (1, 1), size=48, seed=9)
    border = np.ones((48, 48), dtype=bool)
    border[3:-3, 3:-3] = False
    features, labels = [], []
    for index, shot in enumerate(leaves.shots):
        pixels = leaves.draw(index).pixels[border] / 255
        features.append(np.concatenate([pixels.mean(0), pixels.std(0)]))
        labels.append(shot.label)
    score = cross_val_score(LogisticRegression(max_iter=500), features, labels, cv=4).mean()
    assert score < 0.26


def test_written_files_carry_leaf_ids_and_masks(tmp_path: Path) -> None:
    leaves = ProceduralLeaves({"rust": 3, "healthy": 2}, size=48)
    photos = leaves.write(tmp_path)
    with (tmp_path / "leaves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(leaves)
    for row in rows:
        photo, mask = Image.open(tmp_path / row["path"]), Image.open(tmp_path / row["mask"])
        assert photo.size == mask.size == (48, 48)
        name = LeafName.parse(Path(row["path"]).stem)
        assert name is not None
        assert f"{row['label']}/{int(name.number)}" == row["leaf"]
        assert name.numbers_leaves
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*.jpg")}
    leaves.write(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*.jpg")} == before


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(LazarusError, match="'blight'"):
        ProceduralLeaves({"blight": 3})


def test_drawing_is_quick() -> None:
    leaves = ProceduralLeaves()
    leaves.draw(0)
    started = time.perf_counter()
    for index in range(40, 70):
        leaves.draw(index)
    assert 30 / (time.perf_counter() - started) > 10


def test_the_blade_fills_a_fair_part_of_the_canvas() -> None:
    for seed in range(12):
        leaf = LeafBlade.grow(np.random.default_rng(seed))
        assert 0.15 < leaf.alpha.sum() / (ROWS * COLUMNS) < 0.6
        assert leaf.alpha[0].max() == leaf.alpha[-1].max() == 0


def test_a_killed_drawing_continues_and_other_settings_are_refused(tmp_path: Path) -> None:
    leaves = ProceduralLeaves({"healthy": 2, "rust": 2}, photos_per_leaf=(2, 2), size=32, seed=1)
    folder = leaves.write(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    lost = sorted(before)[3]
    (tmp_path / "masks" / lost.relative_to(folder)).with_suffix(".png").unlink()
    lost.unlink()
    ages = {path: path.stat().st_mtime_ns for path in before if path != lost}
    leaves.write(tmp_path)
    assert {path: path.read_bytes() for path in folder.rglob("*.jpg")} == before
    assert {path: path.stat().st_mtime_ns for path in ages} == ages
    other = ProceduralLeaves({"healthy": 2, "rust": 2}, photos_per_leaf=(2, 2), size=32, seed=2)
    with pytest.raises(LazarusError, match="other settings"):
        other.write(tmp_path)
