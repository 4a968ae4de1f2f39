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
    best = max(candidates, key=lambda item: item.val_macro_f1)
    for item in reversed(candidates):
        behind = best.val_macro_f1 - item.val_macro_f1
        error = max(item.val_error or 0.0, best.val_error or 0.0)
        if item.on_views and (behind == 0 or behind < error):
            return item
    return best
