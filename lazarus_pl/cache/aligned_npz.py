"""NumPy's ``.npz`` with every array on a 64-byte border, so that it can be mapped, not copied.

``numpy.load(mmap_mode=...)`` ignores the mode for ``.npz`` (numpy #5976), and ``numpy.savez``
starts arrays at odd offsets. A stored (not deflated) member whose local header is padded through
the zip format's extra field lies in the file just as it would in memory. The file stays an
ordinary ``.npz`` that ``numpy.load`` reads.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.npz_member import NpzMember

ALIGNMENT = 64

_LOCAL_HEADER = 30
# of an .npy: its version, behind the magic string
_VERSION_PLACE = 6
_LONGEST_HEADER = 4096
# "LZ": an extra-field tag that the zip specification leaves to applications
_PADDING_TAG = 0x5A4C
_EPOCH = (1980, 1, 1, 0, 0, 0)


class NpzError(Exception):
    """A file is not an aligned ``.npz``, or not a whole one."""


def write_npz(file: BinaryIO, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays as members ``<name>.npy``, stored, each 64-byte aligned.

    The same arrays always give the same bytes.

    Args:
        file: Seekable binary file.
        arrays: Arrays of any shape and plain dtype by name.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            content = _npy_bytes(array)
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.extra = _padding(file.tell() + _LOCAL_HEADER + len(member.filename.encode()))
            archive.writestr(member, content)


def map_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Maps the arrays of a file read-only; nothing is read until it is used.

    Raises:
        NpzError: If the file is cut short, deflated, misaligned or no zip file.
        OSError: If it cannot be opened.
    """
    view = _mapped(path)
    return _arrays(view, _located(path, view))


def locate_npz(path: Path) -> dict[str, NpzMember]:
    """Where the arrays of a file lie, for :func:`map_members`.

    Raises:
        NpzError: As :func:`map_npz`.
        OSError: If it cannot be opened.
    """
    return _located(path, _mapped(path))


def map_members(path: str | Path, members: Mapping[str, NpzMember]) -> dict[str, npt.NDArray[Any]]:
    """Maps arrays whose places are known: ten times as fast as to look for them again.

    Raises:
        NpzError: If the file has become too short.
        OSError: If it cannot be opened.
    """
    return _arrays(_mapped(path), members)


def _arrays(view: memoryview, members: Mapping[str, NpzMember]) -> dict[str, npt.NDArray[Any]]:
    try:
        return {name: member.of(view) for name, member in members.items()}
    except ValueError as error:
        raise NpzError(str(error)) from error


def _mapped(path: str | Path) -> memoryview:
    # a batch may map a file for each of its rows: no file object is made for them
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    except ValueError as error:
        raise NpzError("empty file") from error
    finally:
        os.close(descriptor)


def _located(path: Path, view: memoryview) -> dict[str, NpzMember]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                member.filename.removesuffix(".npy"): _locate(view, member)
                for member in archive.infolist()
            }
    except (NpzError, OSError):
        raise
    # a damaged header can make zipfile's and NumPy's parsers raise anything
    except Exception as error:
        reason = " ".join(str(error).split()) or "damaged zip file"
        raise NpzError(reason) from error


def _npy_bytes(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _padding(offset: int) -> bytes:
    """An extra field that moves what follows ``offset`` to the next border."""
    length = -(offset + 4) % ALIGNMENT
    return struct.pack("<HH", _PADDING_TAG, length) + bytes(length)


def _locate(view: memoryview, member: zipfile.ZipInfo) -> NpzMember:
    if member.compress_type != zipfile.ZIP_STORED:
        raise NpzError(f"member {member.filename} is compressed: it cannot be mapped")
    name_length, extra_length = struct.unpack_from("<HH", view, member.header_offset + 26)
    start = member.header_offset + _LOCAL_HEADER + name_length + extra_length
    if start + member.file_size > len(view):
        raise NpzError(f"member {member.filename} is cut short")
    header = _header(view[start : start + min(member.file_size, _LONGEST_HEADER)])
    try:
        shape, fortran_order, dtype = _parsed(header)
    except NpzError as error:
        raise NpzError(f"member {member.filename} {error}") from error
    if (start + len(header)) % ALIGNMENT:
        raise NpzError(f"member {member.filename} is not aligned")
    if len(header) + dtype.itemsize * prod(shape) > member.file_size:
        raise NpzError(f"member {member.filename} is cut short")
    return NpzMember(start + len(header), dtype, shape, "F" if fortran_order else "C")


def _header(content: memoryview) -> bytes:
    """The part of a ``.npy`` that stands before its values."""
    form = "<H" if content[_VERSION_PLACE] == 1 else "<I"
    begins = _VERSION_PLACE + 2 + struct.calcsize(form)
    (length,) = struct.unpack_from(form, content, _VERSION_PLACE + 2)
    return bytes(content[: begins + length])


# most files of a cache have the same few headers, and numpy.lib.format takes long to read one
@lru_cache(maxsize=256)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and dtype."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise NpzError(f"has npy version {version}")
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise NpzError("holds Python objects")
    return shape, fortran_order, dtype
