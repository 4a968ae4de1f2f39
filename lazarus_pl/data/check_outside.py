"""What is written does not become data."""

from __future__ import annotations

from pathlib import Path

from lazarus_pl.errors import LazarusError


def check_outside(out: Path, data: Path) -> None:
    """Refuses to write into the folder of the photos, whose next listing would find it.

    Hidden folders are not listed, so they may lie there.

    Args:
        out: The folder to write.
        data: As of :func:`~lazarus_pl.data.listing.list_photos`.

    Raises:
        LazarusError: If ``out`` is in the folder ``data``, or is this folder.
    """
    folder, place = data.resolve(), out.resolve()
    if not folder.is_dir() or not place.is_relative_to(folder):
        return
    if any(part.startswith(".") for part in place.relative_to(folder).parts):
        return
    raise LazarusError(
        f"'{out}' is in '{data}', where its pictures would be taken for photos: name a folder "
        "elsewhere with --out"
    )
