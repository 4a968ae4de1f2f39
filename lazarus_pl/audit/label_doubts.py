"""Photos whose label a model that never saw them would not have given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.quick_head import quick_probabilities
from lazarus_pl.data.corrections import rows_of
from lazarus_pl.data.table import write_table

_FOLDS = 5
_COLUMNS = ("path", "label", "suggested", "confidence", "label_probability", "action", "split")


def label_doubts(data: AuditData) -> dict[str, Any] | None:
    """Ranks doubtful labels by confident learning (Northcutt et al. 2021, arXiv:1911.00068).

    Every photo is predicted by a linear head that has not seen it nor another photo of its leaf
    group; cleanlab finds those whose label does not fit. They are candidates for a person's eye,
    not errors.

    Returns:
        ``method``, ``photos`` (how many were checked), ``reason`` why they were not, and
        ``doubts``, the most doubtful first, each with path, label, suggested class, confidence in
        it, probability of the label, and side of the split (those of test are among them); None
        without features or with fewer than two classes.
    """
    if data.features is None or len(data.class_names) < 2:
        return None
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        reason = "cleanlab is not installed: pip install 'lazarus-pl[audit]'"
        return {"method": "none", "photos": 0, "reason": reason, "doubts": []}
    places, probabilities = _out_of_fold(data)
    if not len(places):
        reason = "no class has leaf groups enough to predict each from the others"
        return {"method": "none", "photos": 0, "reason": reason, "doubts": []}
    labels = data.labels[places]
    ranked = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    doubts = []
    for place in ranked:
        best = int(probabilities[place].argmax())
        if best == labels[place]:
            continue
        doubts.append(
            {
                "path": data.photos[places[place]].path,
                "label": data.class_names[labels[place]],
                "suggested": data.class_names[best],
                "confidence": round(float(probabilities[place, best]), 4),
                "label_probability": round(float(probabilities[place, labels[place]]), 4),
                "split": data.photos[places[place]].split,
            }
        )
    method = f"confident learning (cleanlab) on {_FOLDS} folds by leaf group"
    return {"method": method, "photos": len(places), "reason": "", "doubts": doubts}


def write_doubts(doubts: list[dict[str, Any]], path: Path) -> None:
    """Writes doubts as a table with an empty column ``action``, for a person to fill in.

    ``lazarus extract --corrections`` takes it back. Rows with an action stay, also of photos that
    are in doubt no more, and so do columns that a person added.

    Raises:
        LazarusError: If the file that is there is no such table.
    """
    before = rows_of(path)
    rows = [_merged(doubt, before.pop(doubt["path"], {})) for doubt in doubts]
    rows += [row for row in before.values() if row["action"].strip()]
    columns = list(dict.fromkeys((*_COLUMNS, *(name for row in rows for name in row))))
    write_table(path, columns, ([row.get(name, "") for name in columns] for row in rows))


def _merged(doubt: Mapping[str, Any], row: Mapping[str, str]) -> dict[str, Any]:
    """What is in doubt now, and what a person wrote beside it before."""
    decided = ("action", "suggested") if row.get("action", "").strip() else ()
    theirs = {name: row[name] for name in row if name in decided or name not in _COLUMNS}
    return {**doubt, **theirs}


def _out_of_fold(data: AuditData) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Places that can be predicted from other groups, and their probabilities."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = np.array([photo.group or photo.sha256 for photo in data.photos])
    folds = min(_FOLDS, len(set(groups)))
    probabilities = np.zeros((len(data.photos), len(data.class_names)))
    sound = np.zeros(len(data.photos), dtype=bool)
    if folds < 2:
        return np.flatnonzero(sound), probabilities
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for train, held in cut.split(data.features, data.labels, groups):
        probabilities[held] = quick_probabilities(
            data.standardised, data.labels, train, held, len(data.class_names)
        )
        sound[held] = np.isin(data.labels[held], data.labels[train])
    places = np.flatnonzero(sound)
    # a class that no fold could learn has no photo here, and confident learning needs one of each
    if set(data.labels[places]) != set(range(len(data.class_names))):
        return np.empty(0, dtype=np.intp), probabilities[:0]
    return places, probabilities[places]
