from __future__ import annotations

import pytest

from lazarus_pl.data.leaf_name import LeafName


@pytest.mark.parametrize(
    ("stem", "source", "number"),
    [
        ("00fca0da-2db3-481b-b98a-9b67bb7b105c___RS_HL 7708", "RS_HL", 7708),
        ("00fca0da-2db3-481b-b98a-9b67bb7b105c___RS_HL 7708 copy 2", "RS_HL", 7708),
        ("8f4e___GCREC_Bact.Sp 3433", "GCREC_Bact.Sp", 3433),
        ("IMG_0303", "IMG", 303),
        ("DSC00012", "DSC", 12),
        ("image (12)", "image", 12),
        ("leaf 0012.3", "leaf", 12.3),
        ("x___Leaf 259.1", "Leaf", 259.1),
        ("IMG_20210503_121530", "IMG", 20210503121530),
        ("mmexport1620044130123", "mmexport", 1620044130123),
    ],
)
def test_names_of_cameras_and_collections(stem: str, source: str, number: float) -> None:
    assert LeafName.parse(stem) == LeafName(source, number)


@pytest.mark.parametrize("stem", ["leaf", "", "0a9b8c7d6e5f4a3b", "photo of a leaf"])
def test_names_without_a_number(stem: str) -> None:
    assert LeafName.parse(stem) is None


def test_only_leaf_names_number_leaves() -> None:
    assert LeafName("Leaf", 12).numbers_leaves
    assert LeafName("field leaf_", 12).numbers_leaves
    assert not LeafName("RS_HL", 12).numbers_leaves
