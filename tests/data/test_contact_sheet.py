from __future__ import annotations

import numpy as np

from lazarus_pl.data.contact_sheet import contact_sheet


def test_each_picture_is_in_its_place() -> None:
    red = np.full((30, 30, 3), (255, 0, 0), dtype=np.uint8)
    blue = np.full((50, 20, 3), (0, 0, 255), dtype=np.uint8)
    sheet = np.asarray(contact_sheet({"one": [red, blue], "two": [blue]}, side=40))
    assert tuple(sheet[48, 26]) == (255, 0, 0)
    assert tuple(sheet[48, 26 + 46]) == (0, 0, 255)
    assert tuple(sheet[48 + 68, 26]) == (0, 0, 255)
    assert tuple(sheet[48 + 68, 26 + 46]) == (255, 255, 255)
