"""Spreadsheets of half of the world separate columns by semicolons."""

from __future__ import annotations

from typing import TextIO


def csv_delimiter(file: TextIO) -> str:
    """A semicolon where the first line has some and no comma, else a comma.

    Args:
        file: At its beginning, where it is again afterwards.
    """
    header = file.readline()
    file.seek(0)
    return ";" if ";" in header and "," not in header else ","
