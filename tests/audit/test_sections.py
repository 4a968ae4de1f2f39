"""Each part of the audit on data whose answer is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.class_balance import class_balance
from lazarus_pl.audit.file_report import file_report
from lazarus_pl.audit.findings import Finding, _of_inflation, _of_labels, _of_leak, _of_sessions
from lazarus_pl.audit.label_doubts import label_doubts, write_doubts
from lazarus_pl.audit.leak import dealt_anew, leak_report, random_sides
from lazarus_pl.audit.measures import Measures
from lazarus_pl.audit.near_copies import duplicate_report, find_near_copies
from lazarus_pl.audit.reach import reach_report
from lazarus_pl.audit.report.pictures import reach_plot
from lazarus_pl.audit.shortcuts import shortcut_report
from lazarus_pl.audit.unseen_sessions import unseen_sessions
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.assign_splits import assign_splits
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.data.table import read_table, write_table
from lazarus_pl.errors import LazarusError
from lazarus_pl.tasks.classification_task import _class_weights

RNG = np.random.default_rng(0)
PLAIN = Measures("JPEG", "RGB", 1, "", 0.5, 0.2, 0.0, 900.0, "80" * 24)


def _photo(label: str, number: int, **changes: object) -> Photo:
    path = f"{label}/IMG_{number:04d}.jpg"
    phash = f"{int(RNG.integers(0, 2**63)):016x}"
    photo = Photo(path, label, 1000, path, 256, 256, phash, 0)
    return replace(photo, **changes)


def _data(
    counts: dict[str, int],
    split: SplitSpec | None = None,
    features: np.ndarray | None = None,
    **changes: object,
) -> AuditData:
    split = split or SplitSpec()
    photos = [_photo(label, number) for label in counts for number in range(counts[label])]
    data = AuditData(
        root=Path("photos"),
        photos=tuple(assign_splits(photos, split)),
        measures=(PLAIN,) * len(photos),
        quarantine=(),
        split=split,
        features=features,
    )
    return replace(data, **changes)


def _placed(photos: list[Photo]) -> AuditData:
    """Photos that have their sides already."""
    return AuditData(
        root=Path("photos"),
        photos=tuple(photos),
        measures=(PLAIN,) * len(photos),
        quarantine=(),
        split=SplitSpec("predefined"),
    )


def _leaves(counts: dict[str, int], drift: float = 0.0, leaf: float = 2.0) -> np.ndarray:
    """Features of leaves of eight photos: class, leaf, and a drift towards the next class."""
    rng = np.random.default_rng(1)
    rows = []
    for place, count in enumerate(counts.values()):
        centre = np.zeros(24)
        centre[place] = 2.5
        next_centre = np.zeros(24)
        next_centre[(place + 1) % len(counts)] = 2.5
        for start in range(0, count, 8):
            own = leaf * rng.normal(size=24)
            for number in range(start, min(start + 8, count)):
                moved = centre + drift * number / count * (next_centre - centre)
                rows.append(moved + own + 0.1 * rng.normal(size=24))
    return np.array(rows, dtype=np.float16)


def test_class_weights_are_those_of_the_task() -> None:
    counts = {"a": 300, "b": 40, "c": 9}
    found = class_balance(_data(counts))
    import torch

    weights = _class_weights(torch.tensor([300.0, 40.0, 9.0]), "effective")
    suggested = [row["suggested_weight"] for row in found["by_class"].values()]
    assert suggested == pytest.approx(weights.tolist(), rel=1e-4)
    assert found["imbalance"] == pytest.approx(300 / 9)
    assert found["total"] == 349
    for label, count in counts.items():
        row = found["by_class"][label]
        assert row["photos"] == count == sum(row[s] for s in ("train", "val", "test", "unused"))


def test_odd_photos_are_flagged_the_worst_first() -> None:
    data = _data({"a": 10, "b": 10})
    odd = list(data.measures)
    odd[3] = replace(PLAIN, sharpness=4.0)
    odd[4] = replace(PLAIN, sharpness=2.0)
    odd[5] = replace(PLAIN, contrast=0.001, brightness=0.02, orientation=6)
    found = file_report(replace(data, measures=tuple(odd)))
    worst = [data.photos[4].path, data.photos[3].path]
    assert found["flagged"]["blurred"] == {"number": 2, "worst": worst}
    assert found["flagged"]["dark"]["worst"] == [data.photos[5].path]
    assert found["flagged"]["near_uniform"]["number"] == 1
    assert found["flagged"]["bright"]["number"] == 0
    assert found["rotated_by_exif"] == 1


def test_duplicates_within_across_classes_and_across_the_split() -> None:
    data = _data({"a": 60, "b": 60})
    photos = list(data.photos)
    side = {name: [n for n, p in enumerate(photos) if p.split == name] for name in ("train", "val")}
    of_a = [n for n in side["train"] if photos[n].label == "a"]
    of_b = [n for n in side["train"] if photos[n].label == "b"]
    held = next(n for n in side["val"] if photos[n].label == "a")
    photos[of_a[1]] = replace(photos[of_a[1]], sha256=photos[of_a[0]].sha256)
    for one, other, bit in ((of_a[5], of_b[5], 1), (of_a[7], held, 2)):
        near = f"{int(photos[one].phash, 16) ^ bit:016x}"
        photos[other] = replace(photos[other], phash=near)
    data = replace(data, photos=tuple(photos))
    pairs = find_near_copies(data)
    found = duplicate_report(data, pairs)
    assert [found[kind]["number"] for kind in ("exact", "near", "conflicts", "across_splits")] == [
        *(1, 2, 1, 1)
    ]
    conflict = found["conflicts"]["pairs"][0]
    assert {conflict["left"], conflict["right"]} == {photos[of_a[5]].path, photos[of_b[5]].path}


def test_features_confirm_near_duplicates() -> None:
    counts = {"a": 40, "b": 40}
    features = _leaves(counts)
    data = _data(counts, features=features)
    photos = list(data.photos)
    for one, other in ((0, 1), (8, 60)):
        photos[other] = replace(photos[other], phash=f"{int(photos[one].phash, 16) ^ 3:016x}")
    found = find_near_copies(replace(data, photos=tuple(photos)))
    assert [(pair.left, pair.right) for pair in found] == [(0, 1)]


def test_a_random_split_leaks_and_a_leaf_split_does_not() -> None:
    counts = {"a": 200, "b": 160, "c": 120}
    features = _leaves(counts)
    honest = leak_report(_data(counts, features=features), [])
    assert honest["in_use"]["share_with_sibling"] == 0
    assert honest["random"]["share_with_sibling"] > 0.95
    assert honest["inflation"] > 0.1
    flattering = leak_report(_data(counts, SplitSpec("random"), features), [])
    assert flattering["in_use"]["share_with_sibling"] > 0.95
    assert abs(flattering["inflation"]) < flattering["noise"]
    assert flattering["in_use"]["macro_f1"] > honest["in_use"]["macro_f1"] + 0.1


def test_copies_of_val_in_test_leak_too() -> None:
    """The model is trained on train and val in the end."""
    sides = {"train": range(20), "val": range(1000, 1006), "test": range(2000, 2006)}
    photos = [
        _photo(label, number, split=side)
        for label in "ab"
        for side, numbers in sides.items()
        for number in numbers
    ]
    val, test = ([n for n, p in enumerate(photos) if p.split == side] for side in ("val", "test"))
    for original, copy in zip(val, test, strict=True):
        phash = f"{int(photos[original].phash, 16) ^ 3:016x}"
        photos[copy] = replace(photos[copy], phash=phash)
    data = _placed(photos)
    near = find_near_copies(data)
    report = {"leak": {**leak_report(data, near), "reach": None}, "sessions": None}
    assert report["leak"]["in_use"]["share_with_sibling"] == 0.5
    assert duplicate_report(data, near)["across_splits"]["number"] == 12
    (finding,) = _of_leak(report)
    assert finding.severity == "fault"
    assert "50% of the held-out photos" in finding.text
    assert "in what is learnt from" in finding.text


def test_siblings_in_test_and_among_the_unused_do_not_leak_into_val() -> None:
    photos = [_photo(label, n, split="train") for label in "ab" for n in range(20)]
    photos += [
        _photo(label, 1000 + n, split=side)
        for label in "ab"
        for n, side in enumerate(("val", "unused", "test", "unused"))
    ]
    # of val and test, that of test has its sibling in val
    assert leak_report(_placed(photos), [])["in_use"]["share_with_sibling"] == 0.5


@pytest.mark.parametrize(
    ("draws", "in_use", "noise", "severity", "said"),
    [
        (
            *((0.92, 0.93, 0.94), 0.834, 0.03, "warning"),
            "0.93 (0.92 to 0.94 in 3 draws) where the split in use shows 0.83: +0.10 for nothing "
            "learnt.",
        ),
        # what is printed is consistent: 0.98 less 0.93
        ((0.976, 0.976, 0.976), 0.934, 0.03, "warning", "0.93: +0.05 for nothing learnt."),
        ((0.70, 0.79, 0.88), 0.83, 0.05, "ok", "shows 0.83: no difference beyond chance."),
        ((0.97, 0.87, 0.98), 0.90, 0.14, "ok", "shows 0.90: no difference beyond chance."),
        ((0.832, 0.832, 0.832), 0.830, 0.001, "ok", "they would not flatter here."),
        ((0.60, 0.61, 0.62), 0.83, 0.03, "ok", "they would not flatter here."),
    ],
)
def test_random_splits_flatter_where_it_is_not_chance(
    draws: tuple[float, ...], in_use: float, noise: float, severity: str, said: str
) -> None:
    mean = float(np.mean(draws))
    finding = _of_inflation(
        {
            "random": {"macro_f1": mean, "draws": list(draws)},
            "in_use": {"macro_f1": in_use},
            "inflation": mean - in_use,
            "noise": noise,
        }
    )
    assert finding.severity == severity
    assert finding.text.startswith("Random splits would show a macro-F1 of ")
    assert finding.text.endswith(said)


def test_where_leaves_look_like_nothing_random_splits_show_no_more() -> None:
    """One draw of so few photos is above or below the split in use by luck."""
    counts = {"a": 60, "b": 60}
    for seed in range(4):
        features = np.random.default_rng(seed).normal(size=(120, 12)).astype(np.float16)
        features[:60, 0] += 3
        found = leak_report(_data(counts, features=features), [])
        assert len(found["random"]["draws"]) == 5
        assert found["random"]["macro_f1"] == pytest.approx(np.mean(found["random"]["draws"]))
        assert abs(found["inflation"]) < found["noise"]


def test_test_photos_take_no_part_in_what_a_leak_is_worth() -> None:
    counts = {"a": 100, "b": 80}
    data = _data(counts, features=_leaves(counts))
    on_test = data.sides == "test"
    blind = replace(data)
    # as if nothing were known of them; standardised with the figures of all others
    blind.__dict__["standardised"] = np.where(on_test[:, None], np.nan, data.standardised)
    blind.__dict__["labels"] = np.where(on_test, 1 - data.labels, data.labels)
    assert leak_report(blind, []) == leak_report(data, [])


def test_a_random_draw_has_as_many_photos_a_class_and_side_as_the_split_in_use() -> None:
    data = _data({"a": 200, "b": 60})
    photos = list(data.photos)
    copies = [n for n, p in enumerate(photos) if p.label == "a" and p.split != "test"][::2]
    for one, other in pairwise(copies):
        if one % 4 == 0:
            photos[other] = replace(photos[other], sha256=photos[one].sha256)
    data = replace(data, photos=tuple(photos))
    drawn = dealt_anew(data, 1)
    for label in (0, 1):
        of_class = data.labels == label
        assert Counter(drawn[of_class]) == Counter(data.sides[of_class])
    assert ((drawn == "test") == (data.sides == "test")).all()
    assert (drawn != data.sides).sum() > 20
    assert (drawn != dealt_anew(data, 2)).any()
    of_file: dict[str, set[str]] = {}
    for photo, side in zip(photos, drawn, strict=True):
        of_file.setdefault(photo.sha256, set()).add(side)
    # at most those that lie at the borders of train, unused and val
    assert sum(len(found) > 1 for found in of_file.values()) <= 2


def test_a_random_split_beside_it_is_that_of_the_strategy() -> None:
    data = _data({"a": 50, "b": 70})
    expected = [p.split for p in assign_splits(data.photos, SplitSpec("random"))]
    assert random_sides(data).tolist() == expected


def test_scores_fall_along_a_drifting_session_and_not_along_a_steady_one() -> None:
    counts = {"a": 240, "b": 240, "c": 240}
    drifting = reach_report(_data(counts, features=_leaves(counts, drift=0.9, leaf=0.3)))
    steady = reach_report(_data(counts, features=_leaves(counts, drift=0.0, leaf=0.3)))
    assert drifting is not None
    assert steady is not None
    assert drifting["axis"] == steady["axis"] == "sequence"
    assert drifting["loss"] > 0.2
    assert steady["loss"] < 0.05
    distances = [step["distance"] for step in steady["steps"]]
    assert distances == sorted(distances)
    assert distances[0] == 1
    test = sum(photo.split == "test" for photo in _data(counts).photos)
    assert sum(s["photos"] for s in steady["steps"]) + steady["trained_on"] == 720 - test


def test_without_numbers_the_distance_is_that_of_features() -> None:
    counts = {"a": 80, "b": 80}
    data = _data(counts, SplitSpec("random"), features=_leaves(counts))
    unnamed = tuple(
        replace(photo, path=f"{photo.label}/{'abcdefgh'[n % 8]}{'xyz' * (n % 5)}.jpg")
        for n, photo in enumerate(data.photos)
    )
    found = reach_report(replace(data, photos=unnamed))
    assert found is not None
    assert found["axis"] == "features"
    assert len(found["steps"]) == 4


def test_distances_in_time_are_told_in_time() -> None:
    counts = {"a": 240, "b": 240}
    data = _data(counts, features=_leaves(counts))
    times = [
        replace(PLAIN, taken=f"2021:05:03 {9 + n % 240 // 60:02d}:{n % 60:02d}:00")
        for n in range(len(data.photos))
    ]
    unnamed = [replace(p, path=f"{p.label}/x{'y' * n}.jpg") for n, p in enumerate(data.photos)]
    found = reach_report(replace(data, photos=tuple(unnamed), measures=tuple(times)))
    assert found is not None
    assert found["unit"] == "seconds"
    assert "min away" in reach_plot(found)


def test_exif_times_are_places_in_a_sequence() -> None:
    data = _data({"a": 20, "b": 20})
    photos = tuple(replace(p, path=f"{p.label}/x{'y' * n}.jpg") for n, p in enumerate(data.photos))
    times = tuple(replace(PLAIN, taken=f"2021:05:03 12:00:{n:02d}") for n in range(40))
    places = replace(data, photos=photos, measures=times).places
    assert places[3] is not None
    assert places[1] is not None
    assert places[3][1] - places[1][1] == 2


def _in_sessions(confused: bool, sessions: int = 2) -> AuditData:
    """Classes of several sessions that look like their class or, confused, like the next one's."""
    photos, features = [], []
    rng = np.random.default_rng(2)
    for place, label in enumerate("ab"):
        for session in range(sessions):
            centre = np.zeros(12)
            centre[place] = 3.0
            if confused:
                # what a day's photos share: each day of a class looks like another day of the next
                centre[4 + (place + session) % 2 :: 2] = 3.0
            for number in range(40):
                photos.append(_photo(label, 1000 * session + number))
                features.append(centre + 0.1 * rng.normal(size=12))
    return AuditData(
        root=Path("photos"),
        photos=tuple(assign_splits(photos, SplitSpec())),
        measures=(PLAIN,) * len(photos),
        quarantine=(),
        split=SplitSpec(),
        features=np.array(features, dtype=np.float16),
    )


def _finding(found: dict[str, object]) -> Finding:
    (finding,) = _of_sessions({"sessions": found, "classes": {"number": 2}})
    return finding


def test_sessions_that_look_like_another_class_are_not_found() -> None:
    data = _in_sessions(confused=True)
    found = unseen_sessions(data, [])
    assert found is not None
    assert found["classes"] == 2
    assert found["left_out"] == 4
    assert found["photos"] == int((data.sides != "test").sum())
    assert found["recall"] == 0
    assert found["on_val"] == 1
    assert found["by_class"]["a"]["taken_for"] == "b"
    finding = _finding(found)
    assert finding.severity == "warning"
    assert "a (0%, else mostly b)" in finding.text
    assert "better than the disease" in finding.text


def test_sessions_that_look_like_their_class_are_found() -> None:
    found = unseen_sessions(_in_sessions(confused=False), [])
    assert found is not None
    assert found["recall"] == found["on_val"] == 1
    assert found["by_class"]["b"]["taken_for"] == ""
    assert _finding(found).severity == "ok"


def test_a_small_loss_is_told_without_a_sermon_and_useless_scores_are_not_ok() -> None:
    rows = {"a": {"recall": 0.9, "taken_for": "b"}}
    small = {"classes": 1, "recall": 0.9, "on_val": 0.95, "by_class": rows}
    assert _finding(small).severity == "warning"
    assert "better than the disease" not in _finding(small).text
    useless = small | {"recall": 0.1, "on_val": 0.1}
    assert _finding(useless).severity == "warning"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kin", ["near", "same bytes", "same leaf", "unplaced"])
def test_copies_of_unseen_photos_are_not_learnt_from(kin: str, first: bool) -> None:
    """They would show what was left out; their names say nothing of the session."""
    data = _in_sessions(confused=True)
    usable = [n for n, photo in enumerate(data.photos) if photo.split != "test"]
    copies = []
    for n in usable:
        photo = data.photos[n]
        name = "flipped" + "x" * n if kin == "unplaced" else f"IMG_{9000 + 100 * n}"
        copy = {
            "phash": photo.phash if kin == "near" else _photo("a", 0).phash,
            "sha256": photo.sha256 if kin == "same bytes" else name,
            "group": photo.group if kin == "same leaf" else name,
        }
        copies.append(replace(photo, path=f"{photo.label}/{name}.jpg", split="train", **copy))
    parts = [(data.photos, data.features), (copies, data.features[usable])]
    photos, features = zip(*(reversed(parts) if first else parts), strict=True)
    twice = replace(
        data,
        photos=(*photos[0], *photos[1]),
        measures=(PLAIN,) * (len(data.photos) + len(copies)),
        features=np.concatenate(features),
    )
    found = unseen_sessions(twice, find_near_copies(twice))
    assert found is not None
    assert found["recall"] == 0


@pytest.mark.parametrize("classes", ["a", "ab"])
def test_a_class_of_one_group_has_nothing_to_learn_from(classes: str) -> None:
    data = _in_sessions(confused=False)
    photos = [replace(p, group=p.label if p.label in classes else p.group) for p in data.photos]
    found = unseen_sessions(replace(data, photos=tuple(photos)), [])
    assert found is not None
    assert list(found["by_class"]) == [label for label in "ab" if label not in classes]
    assert found["recall"] in (1.0, None)


def test_of_many_sessions_three_are_left_out() -> None:
    found = unseen_sessions(_in_sessions(confused=False, sessions=5), [])
    assert found is not None
    assert found["by_class"]["a"]["sessions"] >= 4
    assert found["by_class"]["a"]["left_out"] == 3
    assert found["left_out"] == 6


def test_classes_that_val_lacks_are_compared_with_nothing() -> None:
    data = _in_sessions(confused=False)
    photos = [
        replace(photo, split="train" if (photo.split, photo.label) == ("val", "a") else photo.split)
        for photo in data.photos
    ]
    found = unseen_sessions(replace(data, photos=tuple(photos)), [])
    assert found is not None
    assert list(found["by_class"]) == ["b"]
    photos = [replace(photo, split="train") for photo in data.photos]
    found = unseen_sessions(replace(data, photos=tuple(photos)), [])
    assert found is not None
    assert (list(found["by_class"]), found["on_val"]) == (["a", "b"], None)


def test_days_of_exif_are_sessions_though_numbers_go_on() -> None:
    data = _data({"a": 80, "b": 80}, features=_leaves({"a": 80, "b": 80}))
    days = [
        replace(PLAIN, taken=f"2021:05:{3 + n % 80 // 40:02d} 10:00:{n % 40:02d}")
        for n in range(len(data.photos))
    ]
    found = unseen_sessions(replace(data, measures=tuple(days)), [])
    assert found is not None
    assert found["classes"] == 2


def test_test_photos_take_no_part_in_sessions() -> None:
    data = _in_sessions(confused=False)
    on_test = data.sides == "test"
    kept = replace(data)
    # as if nothing were known of them; standardised with the figures of all others
    kept.__dict__["standardised"] = np.where(on_test[:, None], np.nan, data.standardised)
    assert unseen_sessions(kept, []) == unseen_sessions(data, [])


def test_where_sessions_cannot_be_compared_nothing_is_claimed() -> None:
    counts = {"a": 80, "b": 80}
    found = unseen_sessions(_data(counts, features=_leaves(counts)), [])
    assert found is not None
    assert found["classes"] == 0
    assert found["recall"] is None
    assert "cannot be measured" in _finding(found).text
    assert unseen_sessions(_data(counts), []) is None
    data = _in_sessions(confused=False)
    photos = [replace(p, split="test" if p.label == "b" else p.split) for p in data.photos]
    assert unseen_sessions(replace(data, photos=tuple(photos)), []) is None


def test_a_class_on_black_is_named_and_others_are_not() -> None:
    data = _data({"a": 120, "b": 120, "black": 60})
    measures = tuple(
        replace(
            PLAIN,
            border=bytes(RNG.integers(90, 160, 24).tolist()).hex()
            if photo.label != "black"
            else bytes(RNG.integers(0, 9, 24).tolist()).hex(),
        )
        for photo in data.photos
    )
    found = {row["probe"]: row for row in shortcut_report(replace(data, measures=measures))}
    assert "black" in found["border"]["classes"]
    assert found["border"]["by_class"]["black"]["recall"] == 1
    assert found["size_and_format"]["classes"] == []
    assert found["size_and_format"]["accuracy"] <= found["size_and_format"]["chance"] + 1e-9


def test_wrong_labels_are_found_and_can_be_taken_back(tmp_path: Path) -> None:
    counts = {"a": 160, "b": 160, "c": 160}
    data = _data(counts, features=_leaves(counts, leaf=0.3))
    wrong = (5, 70, 200)
    photos = tuple(
        replace(photo, label={"a": "b", "b": "c"}[photo.label]) if n in wrong else photo
        for n, photo in enumerate(data.photos)
    )
    found = label_doubts(replace(data, photos=photos))
    assert found is not None
    # confident learning prunes as many as it reckons there are, so one may stay
    doubted = {doubt["path"] for doubt in found["doubts"]}
    assert len(doubted) >= 2
    assert doubted <= {photos[n].path for n in wrong}
    assert all(doubt["suggested"] == doubt["path"][0] for doubt in found["doubts"])
    table = tmp_path / "doubts.csv"
    write_doubts([{**doubt, "action": "relabel"} for doubt in found["doubts"]], table)
    stay, _ = Corrections.read(table).apply([Listed(p.path, p.label) for p in photos])
    truth = {photo.path: photo.label for photo in data.photos}
    assert all(item.label == truth[item.path] for item in stay if item.path in doubted)


def test_doubts_tell_the_side_of_the_photo(tmp_path: Path) -> None:
    counts = {"a": 160, "b": 160}
    data = _data(counts, features=_leaves(counts, leaf=0.3))
    wrong = {place: data.photos[place].split for place in (5, 70, 300, 310)}
    assert list(wrong.values()) == ["train", "train", "test", "test"]
    photos = tuple(
        replace(photo, label="ba"["ab".index(photo.label)]) if n in wrong else photo
        for n, photo in enumerate(data.photos)
    )
    found = label_doubts(replace(data, photos=photos))
    assert found is not None
    table = tmp_path / "label_doubts.csv"
    write_doubts(found["doubts"], table)
    sides = {row["path"]: row["split"] for row in read_table(table)}
    assert sides.items() <= {photos[place].path: wrong[place] for place in wrong}.items()
    assert set(sides.values()) == {"train", "test"}
    (finding,) = _of_labels({"label_doubts": found})
    in_test = list(sides.values()).count("test")
    assert f"{len(sides)} labels are doubtful ({in_test} in test: " in finding.text


def test_decisions_of_a_table_without_sides_stay(tmp_path: Path) -> None:
    table = tmp_path / "label_doubts.csv"
    table.write_text(
        "path,label,suggested,confidence,label_probability,action,note\n"
        "1,a,c,0.9,0.1,relabel,mine\n"
        "2,a,b,0.9,0.1,keep,\n"
    )
    doubt = {"path": "1", "label": "a", "suggested": "b", "confidence": 0.8, "split": "val"}
    write_doubts([doubt], table)
    names = ("path", "suggested", "split", "action", "note")
    assert [tuple(row[name] for name in names) for row in read_table(table)] == [
        ("1", "c", "val", "relabel", "mine"),
        ("2", "b", "", "keep", ""),
    ]


def test_what_a_person_decided_stays_in_the_table(tmp_path: Path) -> None:
    def doubt(path: str) -> dict[str, str]:
        return {"path": path, "label": "a", "suggested": "b", "confidence": "0.9"}

    table = tmp_path / "label_doubts.csv"
    write_doubts([doubt("1"), doubt("2"), doubt("3")], table)
    rows = read_table(table)
    assert [row["action"] for row in rows] == ["", "", ""]
    rows = [{**row, "note": f"seen {row['path']}"} for row in rows]
    rows[0] |= {"action": "relabel", "suggested": "c"}
    rows[1] |= {"action": "keep"}
    write_table(table, list(rows[0]), [list(row.values()) for row in rows])
    write_doubts([doubt("4"), doubt("2"), {**doubt("5"), "suggested": "d"}], table)
    names = ("path", "action", "suggested", "note")
    assert [tuple(row[name] for name in names) for row in read_table(table)] == [
        ("4", "", "b", ""),
        ("2", "keep", "b", "seen 2"),
        ("5", "", "d", ""),
        ("1", "relabel", "c", "seen 1"),
    ]
    assert Corrections.read(table).labels == {"1": "c"}


def test_a_table_of_doubts_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    table = tmp_path / "label_doubts.csv"
    table.write_text("name;decision\na;b\n")
    with pytest.raises(LazarusError, match=r"label_doubts\.csv' have no column 'action'"):
        write_doubts([], table)
    assert table.read_text() == "name;decision\na;b\n"


def test_without_cleanlab_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    counts = {"a": 40, "b": 40}
    found = label_doubts(_data(counts, features=_leaves(counts)))
    assert found is not None
    assert "lazarus-pl[audit]" in found["reason"]
