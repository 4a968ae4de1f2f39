"""Which model of a chain is the one."""

from __future__ import annotations

from collections.abc import Sequence

from lazarus_pl.pipeline.run.candidate import Candidate

_PREFERRED = "finetune"


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The best on val, or the fine-tuned one where val cannot tell it from the best.

    Val lies beside train and is soon satisfied; on photos that lie further away what was fine-tuned
    on views is more often ahead of a head that is its equal on val than behind it
    (docs/fine_tuning.md). So of those within one standard error of the best it is taken: the rule
    of Breiman et al. 1984 (Classification and Regression Trees), which prefers the simpler one.

    Args:
        candidates: At least one; of equals the earlier one counts.
    """
    best = max(candidates, key=lambda item: item.val_macro_f1)
    least = best.val_macro_f1 - (best.val_error or 0.0)
    alike = [item for item in candidates if item.val_macro_f1 >= least]
    return next((item for item in alike if item.stage == _PREFERRED), best)
