"""The answer in a few plain sentences, each drawn from figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lazarus_pl.plain_name import plain_name

Trust = Literal["yes", "care", "no"]

_WIDE = 0.10
_FEW_GROUPS = 5
_WEAK_RECALL = 0.7
_USELESS = 0.5
_BADLY_CALIBRATED = 0.05


@dataclass(frozen=True)
class Conclusion:
    """What a person must know first.

    Attributes:
        trust: Whether the scores may be believed and used: ``yes``, with ``care``, or ``no``.
        headline: One sentence of it.
        how_good: How good the model is, with the interval.
        confuses: What it takes for what.
        reasons: Why it may or may not be trusted.
    """

    trust: Trust
    headline: str
    how_good: str
    confuses: str
    reasons: Sequence[str]

    @classmethod
    def of(cls, result: Mapping[str, Any], audit: Mapping[str, Any] | None) -> Conclusion:
        """Reads the figures.

        Args:
            result: What the stage ``test`` wrote.
            audit: What stands in ``audit.json``, if there was an audit.
        """
        side = "test" if result["test"] else "val"
        scores = result[side]
        faults = [f["text"] for f in _findings(audit, "fault")]
        cautions = [
            *_of_the_size(result, side),
            *_of_the_classes(scores["classes"], side, result["interval"] is not None),
            *_of_the_probabilities(scores),
            *_of_the_answers(result),
            *_of_the_data(audit),
        ]
        trust: Trust = "no" if faults or scores["macro_f1"] < _USELESS else "care"
        if not faults and not cautions and trust != "no":
            trust = "yes"
        return cls(
            trust=trust,
            headline=_headline(trust, bool(faults), side, _says_how_far(result, scores)),
            how_good=_how_good(result, scores, side, bool(faults)),
            confuses=_confuses(scores),
            reasons=[*faults, *cautions, _ELSEWHERE],
        )


_ELSEWHERE = (
    "All of this is about photos like those of this data. Another camera, place or season is "
    "another task: score the model on a few dozen photos of your own before you rely on it."
)


def _findings(audit: Mapping[str, Any] | None, severity: str) -> list[Mapping[str, Any]]:
    return [f for f in (audit or {}).get("findings", []) if f["severity"] == severity]


def _says_how_far(result: Mapping[str, Any], scores: Mapping[str, Any]) -> bool:
    """Whether test has the leaves to say how far the scores are to be trusted."""
    if result["interval"] is not None:
        return True
    return bool(scores["accuracy"] == 1 and _unseen_mistakes(_groups(scores)) <= _WIDE)


def _groups(scores: Mapping[str, Any]) -> int:
    return int(sum(row["groups"] for row in scores["classes"].values()))


def _headline(trust: Trust, flattered: bool, side: str, says_how_far: bool) -> str:
    if trust == "no" and flattered:
        return "Do not trust these scores: the data flatter them."
    if trust == "care" and side == "val":
        return "No photos are left to say how far to trust these scores."
    if trust == "care" and not says_how_far:
        return "Test cannot say how far to trust these scores."
    return {
        "yes": "These scores can be trusted for photos like these.",
        "care": "These scores can be trusted for photos like these, with care.",
        "no": "This model is not good enough to be used.",
    }[trust]


def _how_good(
    result: Mapping[str, Any], scores: Mapping[str, Any], side: str, flattered: bool
) -> str:
    photos = sum(map(sum, scores["confusion"]))
    right = f"{scores['accuracy']:.0%} of {photos:,} photos"
    if side == "val":
        return (
            f"It names {right} of val rightly, macro-F1 {scores['macro_f1']:.3f}. There are no "
            "test photos, and val also chose the model: the true figures are lower."
        )
    interval = result["interval"]
    groups = _groups(scores)
    # the data may say otherwise
    unseen = "" if flattered else " that it has never seen"
    text = (
        f"It names {right} rightly, of {groups:,} leaves or bursts{unseen}. "
        f"Macro-F1, in which every class counts the same, is {scores['macro_f1']:.3f}"
    )
    if interval is None and scores["accuracy"] == 1:
        return (
            f"{text}; that no mistake was seen in {groups:,} of them does not rule out mistakes in "
            f"{_unseen_mistakes(groups):.0%} (95 %)."
        )
    if interval is None:
        return f"{text}; the leaves of test are too few, or too alike, for an interval."
    low, high = interval["macro_f1"]
    return (
        f"{text}; which leaves happened to be in test makes that {low:.3f} to {high:.3f} (95 % "
        "interval)."
    )


def _unseen_mistakes(groups: int) -> float:
    """The highest rate at which none in as many is not unusual (Clopper and Pearson 1934)."""
    return float(1 - 0.05 ** (1 / groups))


def _confuses(scores: Mapping[str, Any]) -> str:
    names = list(scores["classes"])
    pairs = sorted(
        (
            (count, names[true], names[said], sum(row))
            for true, row in enumerate(scores["confusion"])
            for said, count in enumerate(row)
            if true != said and count
        ),
        key=lambda pair: -pair[0],
    )[:3]
    if not pairs:
        return "It confused nothing."
    told = "; ".join(
        f"{plain_name(true)} for {plain_name(said)} ({count} of {total})"
        for count, true, said, total in pairs
    )
    return f"What it takes most often for something else: {told}."


def _of_the_size(result: Mapping[str, Any], side: str) -> Iterator[str]:
    if side == "val":
        yield "There are no test photos: nothing here was scored on photos that chose nothing."
    elif not _says_how_far(result, result[side]):
        yield (
            "Test has too few leaves, or they are too alike, to say how good the model is. More "
            "photos would help more than more training."
        )
    elif result["interval"] and (width := _width(result)) > _WIDE:
        yield (
            f"The interval is {width:.2f} wide: test has too few leaves to say how good the model "
            "is. More photos would help more than more training."
        )


def _of_the_classes(
    rows: Mapping[str, Mapping[str, float]], side: str, has_interval: bool
) -> Iterator[str]:
    few = [name for name, row in rows.items() if 0 < row["groups"] < _FEW_GROUPS]
    if few:
        narrow = ", and the interval is too narrow" if has_interval else ""
        yield (
            f"{_named(few)} {'has' if len(few) == 1 else 'have'} fewer than {_FEW_GROUPS} leaves "
            f"or bursts in {side}: their figures say little{narrow}."
        )
    absent = [name for name, row in rows.items() if not row["support"]]
    if absent:
        yield (
            f"{side} has no photo of {_named(absent)}: nothing is known of how well "
            f"{'it is' if len(absent) == 1 else 'they are'} found."
        )
    weak = sorted(
        (name for name, row in rows.items() if row["support"] and row["recall"] < _WEAK_RECALL),
        key=lambda name: rows[name]["recall"],
    )
    if weak:
        told = [f"{plain_name(name)} ({rows[name]['recall']:.0%})" for name in weak[:3]]
        yield f"It misses much of {', '.join(told)}{_more(weak)}: the share that it finds."


def _of_the_probabilities(scores: Mapping[str, Any]) -> Iterator[str]:
    if scores["calibration_error"] - _by_chance(scores["reliability"]) <= _BADLY_CALIBRATED:
        return
    gap = scores["confidence"] - scores["accuracy"]
    if abs(gap) <= _BADLY_CALIBRATED:
        yield (
            "Its probabilities are too high for some photos and too low for others: off by "
            f"{scores['calibration_error']:.0%} on average."
        )
        return
    yield f"Its probabilities are {abs(gap):.0%} too {'high' if gap > 0 else 'low'} on average."


def _by_chance(bins: Sequence[Mapping[str, float]]) -> float:
    """The calibration error to be expected of true probabilities on as few photos."""
    photos = sum(row["photos"] for row in bins)
    return sum(
        math.sqrt(2 / math.pi * row["confidence"] * (1 - row["confidence"]) * row["photos"])
        for row in bins
    ) / max(photos, 1)


def _of_the_answers(result: Mapping[str, Any]) -> Iterator[str]:
    if why := result.get("no_promise"):
        yield f"{why[0].upper()}{why[1:]}."


def _width(result: Mapping[str, Any]) -> float:
    low, high = result["interval"]["macro_f1"]
    return float(high - low)


def _of_the_data(audit: Mapping[str, Any] | None) -> Iterator[str]:
    """The gravest of the audit's notes in short; all of them stand below."""
    if audit is None:
        yield "The data were not audited: nobody looked for leaks between train and test."
    told = {f["section"] for f in _findings(audit, "warning")}
    if "shortcuts" in told:
        yield (
            "Borders, brightness or the files themselves tell some classes apart without a leaf: a "
            "part of the score may have nothing to do with disease."
        )
    if "sessions" in told:
        yield from _of_the_sessions(audit)
    if "label_doubts" in told:
        yield "Some labels are doubtful: the audit lists them."


def _of_the_sessions(audit: Mapping[str, Any] | None) -> Iterator[str]:
    sessions = (audit or {}).get("sessions")
    if not sessions or not sessions["classes"]:
        return
    text = (
        f"Of photos from a shooting session that it has not seen, a quick head finds "
        f"{sessions['recall']:.0%}"
    )
    if sessions["on_val"] is not None:
        text += f" where it finds {sessions['on_val']:.0%} on val"
    if sessions["on_val"] is None or sessions["recall"] < sessions["on_val"]:
        text += ": on another day expect less than these scores"
    yield f"{text}."


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(plain_name(name) for name in names[:3])}{_more(names)}"


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 3} more" if len(names) > 3 else ""
