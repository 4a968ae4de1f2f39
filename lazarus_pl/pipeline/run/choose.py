"""Which model of a chain is the one."""

from __future__ import annotations

from collections.abc import Sequence

from lazarus_pl.pipeline.run.candidate import Candidate


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The best on val, or what learnt longest from views where val cannot tell it from the best.

    That is, where it is less than one standard error behind, as in the rule of Breiman et al. 1984
    (Classification and Regression Trees); there the simpler one is preferred.

    Args:
        candidates: At least one, in the order in which they were trained; of equals that did not
            learn from views the earlier one counts.
    """
    best = _best(candidates)
    for item in reversed(candidates):
        behind = best.val_macro_f1 - item.val_macro_f1
        error = max(item.val_error or 0.0, best.val_error or 0.0)
        if item.on_views and (behind == 0 or behind < error):
            return item
    return best


def why_not_the_best(chosen: Candidate, candidates: Sequence[Candidate]) -> str:
    """Why it was chosen and not the best on val; nothing where it is the best."""
    best = _best(candidates)
    if chosen is best:
        return ""
    ahead = "learnt longer" if best.on_views else "learnt from views"
    return f"val cannot tell it from '{best.name}' ({best.val_macro_f1:.3f}), and it {ahead}"


def _best(candidates: Sequence[Candidate]) -> Candidate:
    return max(candidates, key=lambda item: item.val_macro_f1)
