"""What a person decided about doubtful labels."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lazarus_pl.data.csv_delimiter import csv_delimiter
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)
ACTIONS = ("", "keep", "relabel", "exclude")


@dataclass(frozen=True)
class Corrections:
    """New labels and exclusions by path.

    Attributes:
        labels: The right label of relabelled photos.
        excluded: Why photos are left out.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Corrections:
        """Reads a CSV with the columns ``path``, ``action`` and ``suggested``.

        An action is ``relabel`` (to what ``suggested`` says), ``exclude``, ``keep`` or nothing.
        ``label_doubts.csv`` of ``lazarus audit`` is such a file once its actions are filled in.

        Raises:
            LazarusError: If the file is missing or not such a table.
        """
        labels: dict[str, str] = {}
        excluded: dict[str, str] = {}
        for number, row in enumerate(_rows(path), start=2):
            action, name = row["action"].strip().lower(), row["path"]
            if action not in ACTIONS:
                raise LazarusError(
                    f"'{path}' says '{row['action']}' in row {number}: an action is relabel, "
                    "exclude, keep, or nothing"
                )
            if action == "exclude":
                excluded[name] = f"excluded by '{path.name}'"
            if action == "relabel":
                if not row["suggested"].strip():
                    raise LazarusError(
                        f"'{path}' relabels '{name}' in row {number} and suggests nothing: write "
                        "the right class into 'suggested'"
                    )
                labels[name] = row["suggested"].strip()
        return cls(labels, excluded)

    def apply(self, listed: Sequence[Listed]) -> tuple[list[Listed], list[Rejected]]:
        """Corrects what a dataset lists.

        Returns:
            The files that stay, with their right labels, and those that are excluded.
        """
        known = {item.path for item in listed}
        unknown = [path for path in (*self.labels, *self.excluded) if path not in known]
        if unknown:
            _LOG.warning(
                "%d corrections name no photo of the data, such as '%s'", len(unknown), unknown[0]
            )
        stay = [
            replace(item, label=self.labels.get(item.path, item.label))
            for item in listed
            if item.path not in self.excluded
        ]
        out = [
            Rejected(item.path, item.label, self.excluded[item.path])
            for item in listed
            if item.path in self.excluded
        ]
        return stay, out


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    """Rows of such a table by path; none where there is no such file.

    Raises:
        LazarusError: If the file is not such a table.
    """
    if not path.exists():
        return {}
    return {row["path"]: row for row in _rows(path)}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
            rows = [
                {key: value or "" for key, value in row.items() if key}
                for row in csv.DictReader(file, delimiter=csv_delimiter(file))
            ]
    except (OSError, csv.Error) as error:
        raise LazarusError(
            f"the corrections '{path}' cannot be read ({error}): give a CSV with the columns "
            "path, action and suggested"
        ) from error
    missing = sorted({"path", "action", "suggested"} - set(rows[0])) if rows else []
    if missing:
        raise LazarusError(
            f"the corrections '{path}' have no column {' and no '.join(map(repr, missing))}: they "
            "need path, action (relabel, exclude, keep) and suggested (the right class)"
        )
    return rows
