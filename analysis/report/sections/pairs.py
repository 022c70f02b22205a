"""The section on pairs of arms: absent where there is no pair without the baseline."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown, display

from analysis.questions.any_study import pair_matrix
from analysis.report.show import show

_TEXT = """## Pairs of arms

Mean difference in error, the arm of the row minus the arm of the column, in points over pairs of equal searches or
equal seeds. Intervals (Bonferroni) and decisions (Holm, marked by `*`) have a joint level of 95 % over all {n} pairs,
so they are more cautious than the comparison with the baseline alone."""


def show_pairs(differences: pd.DataFrame) -> None:
    """Show how each pair of arms differs; nothing for fewer than two pairs.

    Args:
        differences: from :func:`analysis.questions.any_study.pair_differences`.
    """
    if len(differences) < 2:
        return
    display(Markdown(_TEXT.format(n=len(differences))))
    show(pair_matrix(differences), "pairs", data=differences)
