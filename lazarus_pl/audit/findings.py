"""What a person must know of an audit, in sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["fault", "warning", "ok"]

_LEAK = 0.05
_IMBALANCE = 10.0
_NAMED = 4
_LOSS = 0.03
_GRAVE_LOSS = 0.2
_GOOD_RECALL = 0.7


@dataclass(frozen=True)
class Finding:
    """One sentence.

    Attributes:
        severity: ``fault``: scores cannot be believed or nothing can be trained; ``warning``: to
            be known; ``ok``: checked and sound.
        section: The key of the audit that it is drawn from.
        text: The sentence.
    """

    severity: Severity
    section: str
    text: str


def findings(report: Mapping[str, Any]) -> list[Finding]:
    """Reads an audit's figures.

    Args:
        report: All sections of ``audit.json`` but the findings.
    """
    order = ("fault", "warning", "ok")
    found = [
        *_of_use(report),
        *_of_leak(report),
        *_of_sessions(report),
        *_of_shortcuts(report),
        *_of_duplicates(report),
        *_of_labels(report),
        *_of_classes(report),
        *_of_files(report),
    ]
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _of_use(report: Mapping[str, Any]) -> Iterator[Finding]:
    if not report["classes"]["total"]:
        yield Finding("fault", "files", "No file is a usable photo with a label.")
    if problem := report["about"]["split_problem"]:
        yield Finding("fault", "classes", f"No split can be made: {problem}.")


def _of_files(report: Mapping[str, Any]) -> Iterator[Finding]:
    total = report["quarantine"]["total"]
    if total:
        reason, count = next(iter(report["quarantine"]["by_reason"].items()))
        yield Finding(
            "warning",
            "quarantine",
            f"{_counted(total, 'file')} cannot be used; {count} of them: {reason}.",
        )
    for kind, flagged in report["files"]["flagged"].items():
        if flagged["number"]:
            photos = _counted(flagged["number"], "photo")
            yield Finding(
                "warning", "files", f"{photos} may be of no use: {kind.replace('_', ' ')}."
            )


def _of_leak(report: Mapping[str, Any]) -> Iterator[Finding]:
    in_use, random = report["leak"]["in_use"], report["leak"]["random"]
    if not in_use["held_out"]:
        return
    share = in_use["share_with_sibling"]
    sentence = (
        f"{share:.0%} of the held-out photos have a sibling of the same leaf, or a near duplicate, "
        f"in what is learnt from (split '{in_use['strategy']}')"
    )
    if share > _LEAK:
        way_out = (
            "a larger --split.gap" if in_use["strategy"] == "leaf" else "--split.strategy leaf"
        )
        advice = f"its scores flatter. Use {way_out}, or grouped with a regex of the leaf's name."
        yield Finding("fault", "leak", f"{sentence}: {advice}")
    else:
        yield Finding(
            "ok",
            "leak",
            f"{sentence}; a random split would have {random['share_with_sibling']:.0%}.",
        )
    if report["leak"]["inflation"] is not None and in_use["strategy"] != "random":
        yield _of_inflation(report["leak"])
    if reach := report["leak"]["reach"]:
        yield _of_reach(reach, measured=bool(report["sessions"] and report["sessions"]["classes"]))


def _of_inflation(leak: Mapping[str, Any]) -> Finding:
    random, in_use = leak["random"]["macro_f1"], leak["in_use"]["macro_f1"]
    draws = leak["random"]["draws"]
    text = (
        f"Random splits would show a macro-F1 of {random:.2f} ({min(draws):.2f} to "
        f"{max(draws):.2f} in {len(draws)} draws) where the split in use shows {in_use:.2f}"
    )
    if abs(leak["inflation"]) <= leak["noise"]:
        return Finding("ok", "leak", f"{text}: no difference beyond chance.")
    # as it is printed
    difference = round(random, 2) - round(in_use, 2)
    if difference <= 0:
        return Finding("ok", "leak", f"{text}: they would not flatter here.")
    return Finding("warning", "leak", f"{text}: {difference:+.2f} for nothing learnt.")


def _of_reach(reach: Mapping[str, Any], measured: bool) -> Finding:
    near, far = reach["steps"][0], reach["steps"][-1]
    text = (
        f"Macro-F1 is {near['macro_f1']:.2f} beside the training photos and {far['macro_f1']:.2f} "
        f"at the far end of the same photographer's sequence"
    )
    if reach["axis"] == "features":
        text = (
            f"Macro-F1 is {near['macro_f1']:.2f} on the photos most like the training photos and "
            f"{far['macro_f1']:.2f} on those least like them"
        )
    severity: Severity = "warning" if reach["loss"] > _LOSS else "ok"
    if measured:
        return Finding(severity, "leak", f"{text}.")
    return Finding(
        severity,
        "leak",
        f"{text}. Another day, camera or field is further away than all of this: expect less.",
    )


def _of_sessions(report: Mapping[str, Any]) -> Iterator[Finding]:
    sessions = report["sessions"]
    if sessions is None:
        return
    if not sessions["classes"]:
        yield Finding(
            "warning",
            "sessions",
            "No class has photos on val and two shooting sessions of 20 photos outside test, by "
            "file names and EXIF times: what another day costs cannot be measured on these photos.",
        )
        return
    text = (
        f"In shooting sessions that it has not seen ({sessions['classes']} of "
        f"{report['classes']['number']} classes have several), a quick linear head finds "
        f"{sessions['recall']:.0%} of the photos of each class on average"
    )
    if sessions["on_val"] is not None:
        text += f", on val {sessions['on_val']:.0%}"
    lost = (sessions["on_val"] or 0.0) - sessions["recall"]
    if lost <= _LOSS and sessions["recall"] >= _GOOD_RECALL:
        yield Finding("ok", "sessions", f"{text}.")
        return
    advice = ""
    if lost > _GRAVE_LOSS:
        advice = (
            " It knows the session better than the disease: photograph each class on several days "
            "and in several places, healthy leaves among the sick."
        )
    named = _worst_in_sessions(sessions["by_class"])
    yield Finding("warning", "sessions", f"{text}; fewest of {named}.{advice}")


def _worst_in_sessions(rows: Mapping[str, Mapping[str, Any]]) -> str:
    worst = sorted(rows, key=lambda name: float(rows[name]["recall"]))[:_NAMED]
    return ", ".join(
        f"{name} ({rows[name]['recall']:.0%}, else mostly {rows[name]['taken_for']})"
        for name in worst
        if rows[name]["taken_for"]
    )


def _of_duplicates(report: Mapping[str, Any]) -> Iterator[Finding]:
    sentences = {
        "across_splits": "of near duplicates on two sides of the split.",
        "conflicts": "of (near) duplicates with two different labels.",
        "exact": "of files with the same bytes.",
    }
    for kind, sentence in sentences.items():
        if number := report["duplicates"][kind]["number"]:
            yield Finding("warning", "duplicates", f"{_counted(number, 'pair')} {sentence}")


def _of_shortcuts(report: Mapping[str, Any]) -> Iterator[Finding]:
    names = {
        "border": "eight spots of the border",
        "size_and_format": "size and format of the file",
        "brightness": "brightness and contrast",
    }
    for probe in report["shortcuts"]:
        if not probe["classes"]:
            continue
        recall = probe["by_class"]
        told = sorted(probe["classes"], key=lambda name: -recall[name]["recall"])
        named = ", ".join(f"{name} ({recall[name]['recall']:.0%})" for name in told[:_NAMED])
        more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        yield Finding(
            "warning",
            "shortcuts",
            f"{names[probe['probe']].capitalize()} alone find the class of {probe['accuracy']:.0%} "
            f"of the photos (chance: {probe['chance']:.0%}), best {named}{more}: a model can score "
            "there without seeing a leaf.",
        )


def _of_classes(report: Mapping[str, Any]) -> Iterator[Finding]:
    imbalance = report["classes"]["imbalance"]
    if imbalance >= _IMBALANCE:
        yield Finding(
            "warning",
            "classes",
            f"The largest class has {imbalance:.0f} times the photos of the smallest: judge by "
            "macro-F1, and try model.init_args.class_weights effective.",
        )


def _of_labels(report: Mapping[str, Any]) -> Iterator[Finding]:
    doubts = report["label_doubts"]
    if doubts and doubts["doubts"]:
        in_test = sum(doubt["split"] == "test" for doubt in doubts["doubts"])
        where = f" ({in_test} in test: to correct those changes the scores)" if in_test else ""
        yield Finding(
            "warning",
            "label_doubts",
            f"{len(doubts['doubts'])} labels are doubtful{where}: look at label_doubts.csv, fill "
            "in its actions, and give it to lazarus extract --corrections.",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
