from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazarus_pl.data.listing import Listed
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.split.assign_splits import assign_splits
from lazarus_pl.data.split.check_listed import check_listed
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.errors import LazarusError
from tests.conftest import save_noise


def photo(path: str, sha: str = "", phash: int = 0, group: str = "", split: str = "") -> Photo:
    label = path.split("/", maxsplit=1)[0]
    name = f"{hash(path) & (2**63 - 1):016x}" if not phash else f"{phash:016x}"
    return Photo(path, label, 1, sha or path, 8, 8, name, 0, group, split)


def camera(label: str, numbers: Iterable[int], source: str = "IMG") -> list[Photo]:
    return [photo(f"{label}/{source}_{number:04d}.jpg") for number in numbers]


def sides(photos: list[Photo]) -> dict[str, str]:
    return {item.path: item.split for item in photos}


def test_ranges_are_contiguous_with_a_gap_at_each_border() -> None:
    photos = camera("a", range(200)) + camera("b", range(100, 300))
    for label in "ab":
        run = [p.split for p in assign_splits(photos, SplitSpec()) if p.label == label]
        order = [side for side, before in zip(run, ["", *run], strict=False) if side != before]
        assert order == ["train", "unused", "val", "unused", "test"]
        assert Counter(run) == {"train": 132, "unused": 16, "val": 26, "test": 26}


def distance(photos: list[Photo], one: str, other: str) -> int:
    """How many numbers two sides of a sequence lie apart."""
    numbers = defaultdict(list)
    for item in photos:
        numbers[item.split].append(int(item.path.split("_")[1][:4]))
    return min(numbers[other]) - max(numbers[one])


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_photos_that_share_a_number_fill_no_gap(shots: int) -> None:
    photos = [
        photo(f"{label}/IMG_{number:04d}{' copy' * bool(shot)}{shot or ''}.jpg")
        for label in "ab"
        for number in range(240 // shots)
        for shot in range(shots)
    ]
    of_class = [p for p in assign_splits(photos, SplitSpec()) if p.label == "a"]
    assert distance(of_class, "train", "val") > 8
    assert distance(of_class, "val", "test") > 8


def test_numbers_of_many_photos_are_not_given_up_for_a_gap() -> None:
    photos = [
        photo(f"{label}/plant {plant} copy {shot}.jpg")
        for label in "ab"
        for plant in range(12)
        for shot in range(50)
    ]
    counts = Counter(p.split for p in assign_splits(photos, SplitSpec()))
    assert counts == {"train": 800, "val": 200, "test": 200}


@pytest.mark.parametrize("count", [54, 60, 73, 80])
def test_val_and_test_of_short_sequences_lie_as_far_apart_as_train_and_val(count: int) -> None:
    photos = camera("a", range(count)) + camera("b", range(count))
    of_class = [p for p in assign_splits(photos, SplitSpec()) if p.label == "a"]
    assert distance(of_class, "val", "test") > 8
    counts = Counter(p.split for p in of_class)
    assert min(counts["val"], counts["test"]) >= 4


@pytest.mark.parametrize("count", range(9, 54))
def test_sides_of_few_photos_give_none_away(count: int) -> None:
    photos = camera("a", range(count)) + camera("b", range(count))
    counts = Counter(p.split for p in assign_splits(photos, SplitSpec()) if p.label == "a")
    assert min(counts["val"], counts["test"]) >= min(4, count // 10)


def test_where_numbers_lie_far_apart_a_short_gap_stays() -> None:
    photos = camera("a", range(0, 600, 10)) + camera("b", range(60))
    run = Counter(p.split for p in assign_splits(photos, SplitSpec()) if p.label == "a")
    assert run == {"train": 34, "unused": 14, "val": 6, "test": 6}


def test_each_photographer_has_ranges_of_their_own() -> None:
    photos = camera("a", range(100), "RS") + camera("a", range(100), "GC") + camera("b", range(50))
    by_source: dict[str, set[str]] = defaultdict(set)
    for item in assign_splits(photos, SplitSpec()):
        by_source[item.path.split("_")[0]].add(item.split)
    assert by_source["a/RS"] >= {"train", "val", "test"}
    assert by_source["a/GC"] >= {"train", "val", "test"}


def test_many_short_sequences_are_dealt_out_whole() -> None:
    photos = [
        photo(f"{label}/plant{chr(97 + plant)}_{shot}.jpg")
        for label in "ab"
        for plant in range(20)
        for shot in range(3)
    ]
    assigned = assign_splits(photos, SplitSpec())
    by_plant: dict[str, set[str]] = defaultdict(set)
    for item in assigned:
        by_plant[item.path.split("_")[0]].add(item.split)
    assert all(len(found) == 1 for found in by_plant.values())
    assert Counter(item.split for item in assigned) == {"train": 84, "val": 18, "test": 18}


@pytest.mark.parametrize("count", range(3, 30))
def test_few_photos_still_reach_every_side(count: int) -> None:
    photos = camera("a", range(count)) + camera("b", range(count))
    for label in "ab":
        found = [p.split for p in assign_splits(photos, SplitSpec()) if p.label == label]
        assert set(found) >= {"train", "val", "test"}
        assert found.count("train") >= found.count("unused")


def test_copies_of_a_number_stay_with_it() -> None:
    photos = [
        photo(f"{label}/x___RS {number}{copy}.JPG")
        for label in "ab"
        for number in range(60)
        for copy in ("", " copy", " copy 2")
    ]
    assigned = assign_splits(photos, SplitSpec(gap=0))
    by_number: dict[str, set[str]] = defaultdict(set)
    for item in assigned:
        by_number[item.path.split(" copy")[0].removesuffix(".JPG")].add(item.split)
    assert all(len(found) == 1 for found in by_number.values())


def test_named_leaves_need_no_gap() -> None:
    photos = [
        photo(f"{label}/leaf {leaf:03d}.{shot}.jpg")
        for label in "ab"
        for leaf in range(20)
        for shot in (1, 2, 3)
    ]
    assigned = assign_splits(photos, SplitSpec())
    assert Counter(item.split for item in assigned) == {"train": 84, "val": 18, "test": 18}
    by_leaf: dict[str, set[str]] = defaultdict(set)
    for item in assigned:
        by_leaf[item.group].add(item.split)
    assert len(by_leaf) == 40
    assert all(len(found) == 1 for found in by_leaf.values())


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.lists(st.integers(0, 400), min_size=9, unique=True), min_size=2
    ),
    st.sampled_from(["leaf", "random"]),
    st.integers(0, 12),
)
def test_no_group_is_ever_cut_and_every_class_is_on_every_side(
    numbers: dict[str, list[int]], strategy: str, gap: int
) -> None:
    photos = [item for label, found in numbers.items() for item in camera(label, found)]
    assigned = assign_splits(photos, SplitSpec(strategy=strategy, gap=gap))  # type: ignore[arg-type]
    by_group: dict[str, set[str]] = defaultdict(set)
    for item in assigned:
        by_group[item.group].add(item.split)
    assert all(len(found) == 1 for found in by_group.values())
    for label in numbers:
        found = {item.split for item in assigned if item.label == label}
        assert found >= {"train", "val", "test"}
    assert [item.path for item in assigned] == [item.path for item in photos]


@pytest.mark.parametrize("strategy", ["leaf", "random", "grouped"])
def test_the_same_call_gives_the_same_split_in_any_order(strategy: str) -> None:
    photos = camera("a", range(90)) + camera("b", range(60))
    spec = SplitSpec(strategy=strategy, regex=r"\d{3}")  # type: ignore[arg-type]
    first = sides(assign_splits(photos, spec))
    assert sides(assign_splits(photos[::-1], spec)) == first


@pytest.mark.parametrize("strategy", ["leaf", "random", "grouped"])
def test_adding_photos_moves_none(strategy: str) -> None:
    spec = SplitSpec(strategy=strategy, regex=r"\w/IMG_\d{3}")  # type: ignore[arg-type]
    before = sides(assign_splits(camera("a", range(0, 90, 2)) + camera("b", range(60)), spec))
    photos = camera("a", range(120)) + camera("b", range(90)) + camera("c", range(30))
    after = sides(assign_splits(photos, spec, before))
    assert {path: after[path] for path in before} == before
    assert {after[path] for path in after if path.startswith("c/")} >= {"train", "val", "test"}


def test_exact_duplicates_stay_on_one_side() -> None:
    photos = camera("a", range(60)) + camera("b", range(60))
    photos = [
        photo(p.path, sha=str(number - 50 if 80 < number < 90 else number))
        for number, p in enumerate(photos)
    ]
    for strategy in ("leaf", "random"):
        by_sha: dict[str, set[str]] = defaultdict(set)
        for item in assign_splits(photos, SplitSpec(strategy=strategy)):  # type: ignore[arg-type]
            by_sha[item.sha256].add(item.split)
        assert all(len(found) == 1 for found in by_sha.values())


def alike(label: str, count: int) -> tuple[list[Photo], list[Photo]]:
    """Numbered photos, and a smaller copy of each whose name has no number."""
    rng = random.Random(label)
    looks = [rng.getrandbits(63) | 1 for _ in range(count)]
    return (
        [photo(f"{label}/IMG_{n:04d}.jpg", phash=look) for n, look in enumerate(looks)],
        [
            photo(f"{label}/{chr(97 + n // 26)}{chr(97 + n % 26)}-small.jpg", phash=look ^ 0b10110)
            for n, look in enumerate(looks)
        ],
    )


def test_near_copies_without_a_number_lie_where_the_numbered_ones_lie() -> None:
    pairs = [alike(label, 200) for label in "ab"]
    numbered, copies = ([p for pair in pairs for p in pair[place]] for place in (0, 1))
    assigned = {p.path: p for p in assign_splits([*numbered, *copies], SplitSpec())}
    for one, other in zip(numbered, copies, strict=True):
        assert assigned[one.path].split == assigned[other.path].split
        assert assigned[one.path].group == assigned[other.path].group
    assert (
        sides(assign_splits(numbered, SplitSpec())).items() <= sides([*assigned.values()]).items()
    )


def test_near_copies_of_near_copies_stay_together() -> None:
    numbered, copies = alike("a", 200)
    bits = {copy.path: int(copy.phash, 16) ^ (0b111100 << 30) for copy in copies}
    further = [photo(path.replace("small", "tiny"), phash=bits[path]) for path in bits]
    photos = [*numbered, *copies, *further, *camera("b", range(200))]
    after = sides(assign_splits(photos, SplitSpec()))
    assert all(after[path] == after[path.replace("small", "tiny")] for path in bits)


@pytest.mark.parametrize("numbers", [1, 20])
def test_where_all_photos_look_alike_a_likeness_tells_nothing(numbers: int) -> None:
    looks = [1 << 60 | 1 << one | 1 << other for one in range(40) for other in range(one)]
    odd = [
        photo(f"a/{chr(97 + n // 26)}{chr(97 + n % 26)}.jpg", phash=look)
        for n, look in enumerate(looks[:300])
    ]
    few = [photo(f"a/IMG_{n:04d}.jpg", phash=looks[300 + n]) for n in range(numbers)]
    after = sides(assign_splits([*odd, *few, *camera("b", range(200))], SplitSpec()))
    counts = Counter(after[item.path] for item in odd)
    assert min(counts[side] for side in ("val", "test")) > 30


def test_one_likeness_does_not_take_much_of_a_class_along() -> None:
    numbered, _ = alike("a", 200)
    # each looks like the next one, and the last like a numbered photo of test
    last = int(numbered[190].phash, 16)
    looks = [last ^ (1 << 62)]
    for step in range(199):
        looks.append(looks[-1] ^ (0b1111 << (step % 15 * 4)))
    chain = [
        photo(f"a/{chr(97 + n // 26)}{chr(97 + n % 26)}.jpg", phash=look)
        for n, look in enumerate(looks)
    ]
    loners = [photo(f"a/loner{letter}.jpg") for letter in "abcdef"]
    photos = [*numbered, *chain, *loners, *camera("b", range(200))]
    after = sides(assign_splits(photos, SplitSpec()))
    assert len({after[item.path] for item in chain}) == 1, "one group"
    assert {after[item.path] for item in chain} == {"train"}


def test_near_copies_that_are_settled_elsewhere_stay(caplog: pytest.LogCaptureFixture) -> None:
    numbered, copies = alike("a", 200)
    others = camera("b", range(200))
    settled = sides(assign_splits([*numbered, *others], SplitSpec()))
    settled |= {copy.path: ("train", "val", "test")[n % 3] for n, copy in enumerate(copies)}
    after = sides(assign_splits([*numbered, *copies, *others], SplitSpec(), settled))
    assert after == settled
    assert "settled on different sides" not in caplog.text


def test_names_without_numbers_fall_back_to_near_duplicates_and_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op", "qr", "st"]
    photos = [
        photo(f"{label}/{name}{twin}.jpg", phash=(1 + 12345678901234567 * place * (1 + label_no)))
        for label_no, label in enumerate("xy")
        for place, name in enumerate(names)
        for twin in ("left", "right")
    ]
    with caplog.at_level(logging.WARNING, "lazarus_pl"):
        assigned = assign_splits(photos, SplitSpec())
    assert "carry no running number" in caplog.text
    by_twin: dict[str, set[str]] = defaultdict(set)
    for item in assigned:
        by_twin[item.path.replace("left", "").replace("right", "")].add(item.split)
    assert all(len(found) == 1 for found in by_twin.values())


def test_random_is_stratified_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lazarus_pl"):
        photos = camera("a", range(200)) + camera("b", range(40))
        assigned = assign_splits(photos, SplitSpec(strategy="random"))
    assert "flatter" in caplog.text
    counts = Counter((item.label, item.split) for item in assigned)
    assert counts["a", "train"] == 140
    assert counts["b", "train"] == 28
    assert counts["b", "test"] == 6
    other = assign_splits(photos, SplitSpec(strategy="random", seed=1))
    assert sides(other) != sides(assigned)


def test_grouped_by_column_and_by_regex() -> None:
    photos = [
        photo(f"{label}/plot{number // 5:02d}-{number}.jpg", group=f"{label}{number // 5}")
        for label in "ab"
        for number in range(100)
    ]
    for spec in (SplitSpec("grouped"), SplitSpec("grouped", regex=r"(\w/plot\d+)")):
        by_group: dict[str, set[str]] = defaultdict(set)
        for item in assign_splits(photos, spec):
            by_group[item.path.split("-")[0]].add(item.split)
        assert len(by_group) == 40
        assert all(len(found) == 1 for found in by_group.values())


def test_predefined_is_taken_as_it_is() -> None:
    photos = [
        photo(f"{label}/{side}{n}.jpg", split=side)
        for label in "ab"
        for side in ("train", "valid", "test")
        for n in range(2)
    ]
    found = Counter(p.split for p in assign_splits(photos, SplitSpec("predefined")))
    assert found == {"train": 4, "val": 4, "test": 4}


@pytest.mark.parametrize(
    ("photos", "spec", "said"),
    [
        (camera("a", range(9)), SplitSpec(), "only one class, 'a'"),
        (camera("a", range(9)) + camera("b", range(2)), SplitSpec(), "class 'b' has 2 photo"),
        (camera("a", range(9)) + camera("b", range(9)), SplitSpec("grouped"), "no group"),
        (camera("a", range(9)) + camera("b", range(9)), SplitSpec("predefined"), "no split"),
        (
            camera("a", range(9)) + camera("b", range(9)),
            SplitSpec("grouped", regex="zzz"),
            "does not match",
        ),
    ],
)
def test_what_cannot_be_split_says_why(photos: list[Photo], spec: SplitSpec, said: str) -> None:
    with pytest.raises(LazarusError, match=said):
        assign_splits(photos, spec)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (SplitSpec("grouped"), "finds no group for 'b/odd.png'"),
        (SplitSpec("grouped", regex=r"\d"), "does not match 'b/odd.png'"),
        (SplitSpec("predefined"), "finds no split for 'b/odd.png'"),
    ],
)
def test_what_a_listing_lacks_is_told_unless_the_file_is_useless(
    spec: SplitSpec, said: str, tmp_path: Path
) -> None:
    for label, name in (("a", "1.png"), ("b", "odd.png")):
        (tmp_path / label).mkdir()
        save_noise(tmp_path / label / name)
    (tmp_path / "b" / "broken.png").write_bytes(b"broken")
    found = [
        Listed("a/1.png", "a", "plant", "val"),
        Listed("b/broken.png", "b"),
        Listed("x.png", ""),
    ]
    check_listed(tmp_path, found, spec)
    with pytest.raises(LazarusError, match=said):
        check_listed(tmp_path, [*found, Listed("b/odd.png", "b")], spec)
    check_listed(tmp_path, [*found, Listed("b/odd.png", "b")], SplitSpec())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "leef"}, "unknown split strategy"),
        ({"fractions": (0.7, 0.7, 0.1)}, "add up to 1"),
        ({"fractions": (1.0, 0.0, 0.0)}, "positive"),
        ({"gap": -1}, "negative"),
        ({"regex": "("}, "no regular expression"),
    ],
)
def test_bad_settings(options: dict[str, object], said: str) -> None:
    with pytest.raises(LazarusError, match=said):
        SplitSpec(**options)  # type: ignore[arg-type]


def test_no_test_side_if_its_fraction_is_zero() -> None:
    photos = camera("a", range(60)) + camera("b", range(60))
    found = {p.split for p in assign_splits(photos, SplitSpec(fractions=(0.8, 0.2, 0)))}
    assert found == {"train", "unused", "val"}


def test_a_copy_takes_its_whole_leaf_along() -> None:
    photos = camera("a", range(100)) + camera("b", range(100))
    photos[95] = photo(photos[95].path, sha=photos[5].sha256)
    assigned = {item.path: item for item in assign_splits(photos, SplitSpec())}
    assert assigned[photos[5].path].split == assigned[photos[95].path].split == "train"
    by_group: dict[str, set[str]] = defaultdict(set)
    for item in assigned.values():
        by_group[item.group].add(item.split)
    assert all(len(found - {"unused"}) <= 1 for found in by_group.values())


def test_a_new_copy_moves_nothing_that_is_settled() -> None:
    photos = camera("a", range(100)) + camera("b", range(100))
    first = sides(assign_splits(photos, SplitSpec()))
    val = next(path for path, side in first.items() if side == "val")
    for path in ("a/IMG_0000 copy.jpg", "a/IMG_0200.jpg", "b/IMG_0001 copy.jpg"):
        added = [*photos, photo(path, sha=next(p.sha256 for p in photos if p.path == val))]
        again = sides(assign_splits(added, SplitSpec(), first))
        assert again.pop(path) == "val"
        assert again == first


@pytest.mark.parametrize("more", [range(50, 500), range(-500, 0)])
def test_many_photos_beyond_the_settled_ones_are_a_range_of_their_own(more: range) -> None:
    def numbered(numbers: Iterable[int]) -> list[Photo]:
        return camera("a", (n + 1000 for n in numbers)) + camera("b", (n + 1000 for n in numbers))

    few = numbered(range(50))
    first = sides(assign_splits(few, SplitSpec()))
    after = assign_splits(numbered([*range(50), *more]), SplitSpec(), first)
    assert {path: side for path, side in sides(after).items() if path in first} == first
    counts = Counter(item.split for item in after)
    for side, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert counts[side] / (len(after) - counts["unused"]) == pytest.approx(share, abs=0.06)
    numbers = {side: set() for side in ("train", "val", "test")}
    for item in after:
        if item.split != "unused" and item.label == "a":
            numbers[item.split].add(int(item.path[6:10]))
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert min(abs(a - b) for a in numbers[one] for b in numbers[other]) > 3


def test_an_identical_burst_is_never_cut() -> None:
    photos = [photo(f"{label}/{'x' * (n + 1)}.jpg", phash=77) for label in "ab" for n in range(12)]
    photos += [
        photo(f"{label}/{'y' * (n + 1)}.jpg", phash=99991 * (n + 1) ** 5)
        for label in "ab"
        for n in range(10)
    ]
    assigned = assign_splits(photos, SplitSpec())
    for label in "ab":
        burst = {p.split for p in assigned if p.path.startswith(f"{label}/x")}
        assert len(burst) == 1


def test_a_side_that_lost_its_photos_names_the_way_out() -> None:
    photos = camera("a", range(100)) + camera("b", range(100))
    first = sides(assign_splits(photos, SplitSpec()))
    left = [item for item in photos if first[item.path] != "val" or item.label == "b"]
    with pytest.raises(LazarusError, match=r"--split\.seed"):
        assign_splits(left, SplitSpec(), first)
    assert assign_splits(left, SplitSpec(seed=1))


def test_names_that_are_no_text_can_be_dealt() -> None:
    photos = [photo(f"{label}/\udcff{place}x.jpg", phash=0) for label in "ab" for place in range(9)]
    assert {p.split for p in assign_splits(photos, SplitSpec())} == {"train", "val", "test"}


def by_side(photos: list[Photo], key: Callable[[Photo], str]) -> dict[str, set[str]]:
    """The sides, beside unused, of the photos with one key."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in photos:
        if item.split != "unused":
            found[key(item)].add(item.split)
    return found


names = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from(["IMG_{:04d}", "leaf {:03d}.1", "leaf {:03d}.2", "x{}y", "plot{0}_{0}"]),
    st.integers(0, 120),
)


some_photos = st.lists(
    st.tuples(names, st.integers(0, 60), st.integers(0, 40), st.integers(0, 12), st.booleans()),
    min_size=8,
    max_size=120,
    unique_by=lambda drawn: drawn[0],
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(some_photos, st.sampled_from(["leaf", "grouped", "random"]), st.integers(0, 9))
def test_copies_and_groups_are_on_one_side_and_what_is_settled_stays(
    drawn: list[tuple[tuple[str, str, int], int, int, int, bool]], strategy: str, gap: int
) -> None:
    photos: list[Photo] = []
    early: set[str] = set()
    for (label, name, number), sha, phash, group, is_early in drawn:
        path = f"{label}/{name.format(number)}.jpg"
        # a third of the photos are copies of each other
        digest = f"{sha:064d}" if sha < 20 else f"{path:>064}"
        photos.append(photo(path, digest, 1 + phash * 0x123456789ABCD, f"{group}"))
        early |= {path} if is_early else set()
    spec = SplitSpec(strategy=strategy, gap=gap)  # type: ignore[arg-type]
    before: dict[str, str] = {}
    try:
        before = sides(assign_splits([p for p in photos if p.path in early], spec))
    except LazarusError:
        before = {}
    try:
        assigned = assign_splits(photos, spec, before)
    except LazarusError:
        return
    of_bytes: dict[str, set[str]] = defaultdict(set)
    for item in assigned:
        of_bytes[item.sha256].add(item.split)
    assert all(len(found) == 1 for found in of_bytes.values())
    assert all(len(found) == 1 for found in by_side(assigned, lambda p: p.group).values())
    after = sides(assigned)
    assert {path: after[path] for path in before} == before
    for label in {item.label for item in photos}:
        assert {p.split for p in assigned if p.label == label} >= {"train", "val", "test"}
    again = assign_splits(photos[::-1], spec, before)
    assert sides(again) == after


def test_a_copy_of_a_settled_photo_moves_neither_it_nor_its_leaf() -> None:
    photos = camera("a", range(100)) + camera("b", range(100))
    before = sides(assign_splits(photos, SplitSpec()))
    assert (before["a/IMG_0000.jpg"], before["a/IMG_0099.jpg"]) == ("train", "test")
    copy = photo("a/IMG_0099 copy.jpg", sha="a/IMG_0000.jpg")
    after = sides(assign_splits([*photos, copy], SplitSpec(), before))
    assert after.pop(copy.path) == "train"
    assert after == before


def test_a_class_full_of_copies_under_other_numbers_is_still_split() -> None:
    order = random.Random(0).sample(range(300), 300)
    photos = camera("b", range(300))
    for label in ("a", "c"):
        photos += camera(label, range(300))
        numbers = order if label == "a" else range(300)
        photos += [
            photo(f"{label}/IMG_{1000 + place}.jpg", sha=f"{label}/IMG_{number:04d}.jpg")
            for place, number in enumerate(numbers)
        ]
    assigned = assign_splits(photos, SplitSpec())
    assert all(len(found) == 1 for found in by_side(assigned, lambda p: p.sha256).values())
    for label in "abc":
        count = Counter(p.split for p in assigned if p.label == label)
        used = count.total() - count["unused"]
        assert 0.1 < count["test"] / used < 0.25
        assert 0.1 < count["val"] / used < 0.25


def test_one_burst_of_more_than_half_a_class_is_not_cut(caplog: pytest.LogCaptureFixture) -> None:
    photos = [
        photo(f"{label}/burst{chr(97 + n)}x.jpg", phash=7) for label in "ab" for n in range(9)
    ]
    photos += [
        photo(f"{label}/{name}.jpg", phash=12345678901234567 * (place + 2))
        for label in "ab"
        for place, name in enumerate(["cd", "ef", "gh", "ij"])
    ]
    assigned = assign_splits(photos, SplitSpec())
    for label in "ab":
        burst = {p.split for p in assigned if p.label == label and "burst" in p.path}
        assert burst == {"train"}
    assert "so much alike" not in caplog.text


def test_a_threshold_is_dropped_only_to_fill_the_sides_and_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near = [0b1, 0b11, 0b1111, 0b111111, 0b111111111]
    photos = [
        photo(f"{label}/{'cdefg'[place]}{twin}x.jpg", phash=near[place])
        for label in "ab"
        for place in range(5)
        for twin in "yz"
    ]
    assigned = assign_splits(photos, SplitSpec())
    assert "the photos of 2 classes, such as 'a', look so much alike" in caplog.text
    assert all(len(found) == 1 for found in by_side(assigned, lambda p: p.phash + p.label).values())
    same = [replace(item, phash="0" * 15 + "1") for item in photos]
    with pytest.raises(LazarusError, match=r"1 photo.* or leaf group"):
        assign_splits(same, SplitSpec())


def test_many_photos_beyond_the_settled_ranges_are_cut_for_themselves() -> None:
    first = camera("a", range(50)) + camera("b", range(500))
    before = sides(assign_splits(first, SplitSpec()))
    assigned = assign_splits(camera("a", range(500)) + camera("b", range(500)), SplitSpec(), before)
    after = sides(assigned)
    assert {path: after[path] for path in before} == before
    count = Counter(p.split for p in assigned if p.label == "a")
    assert 0.12 < count["test"] / 500 < 0.18
    assert 0.12 < count["val"] / 500 < 0.18
    # the settled end is test, the new range begins with train: a gap keeps them apart
    order = [after[f"a/IMG_{number:04d}.jpg"] for number in range(40, 70)]
    assert order[9] == "test"
    assert order[10:18] == ["unused"] * 8
    assert order[18] == "train"


def test_few_photos_beyond_the_settled_ranges_join_the_nearest() -> None:
    before = sides(assign_splits(camera("a", range(50)) + camera("b", range(50)), SplitSpec()))
    photos = camera("a", range(70)) + camera("b", range(50))
    after = sides(assign_splits(photos, SplitSpec(), before))
    assert {after[f"a/IMG_{number:04d}.jpg"] for number in range(50, 70)} == {"test"}


def test_a_hole_between_settled_ranges_can_be_cut_too() -> None:
    numbers = [*range(60), *range(700, 760)]
    before = sides(assign_splits(camera("a", numbers) + camera("b", range(50)), SplitSpec()))
    photos = camera("a", range(760)) + camera("b", range(50))
    assigned = assign_splits(photos, SplitSpec(), before)
    count = Counter(p.split for p in assigned if p.label == "a")
    assert 0.12 < count["test"] / 760 < 0.18
    run = [p.split for p in assigned if p.label == "a"]
    used = [(side, place) for place, side in enumerate(run) if side != "unused"]
    for (side, place), (other, further) in pairwise(used):
        assert side == other or further - place > 8


def test_a_class_that_lost_a_settled_side_says_the_way_out() -> None:
    photos = camera("a", range(60)) + camera("b", range(60))
    before = sides(assign_splits(photos, SplitSpec()))
    left = [p for p in photos if p.label == "b" or before[p.path] != "val"]
    with pytest.raises(LazarusError, match=r"no photo left in val.*--out or --split\.seed"):
        assign_splits(left, SplitSpec(), before)
    more = camera("a", range(1000, 1040))
    assigned = assign_splits([*left, *more], SplitSpec(), before)
    assert "val" in {p.split for p in assigned if p.label == "a"}
