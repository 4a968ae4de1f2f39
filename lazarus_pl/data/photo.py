"""One row of the manifest."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Photo:
    """What is known of one photo without its pixels.

    Attributes:
        path: Relative to the dataset's root with forward slashes, or absolute if outside it.
        label: Class name; empty where it is not known.
        bytes: File size in bytes.
        sha256: Digest of the file's bytes, 64 hex digits.
        width: In pixels, after the EXIF orientation was applied.
        height: In pixels, after the EXIF orientation was applied.
        phash: 64-bit perceptual hash, 16 hex digits.
        modified: The file's modification time in nanoseconds, so that a second scan can skip it.
        group: Leaf group: photos that must stay on one side of a split.
        split: ``train``, ``val``, ``test`` or ``unused``.
    """

    path: str
    label: str
    bytes: int
    sha256: str
    width: int
    height: int
    phash: str
    modified: int
    group: str = ""
    split: str = ""

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Photo:
        """Builds a photo from one row of the manifest's CSV.

        Raises:
            KeyError: If a column is missing.
            ValueError: If a number is not one.
        """
        return cls(
            path=row["path"],
            label=row["label"],
            bytes=int(row["bytes"]),
            sha256=row["sha256"],
            width=int(row["width"]),
            height=int(row["height"]),
            phash=row["phash"],
            modified=int(row["modified"]),
            group=row["group"],
            split=row["split"],
        )

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The manifest's columns, in order."""
        return tuple(field.name for field in fields(cls))

    def to_row(self) -> tuple[str | int, ...]:
        """The values of :meth:`columns`, in order."""
        return tuple(getattr(self, name) for name in self.columns())
