"""Answers of the study ``robust_vs_adversarial``: clean and attacked errors of mixing and adversarial training."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis import statistics
from analysis.data.evaluations import long, measured, values_of
from analysis.data.frames import Sweep
from analysis.statistics import HIGHER, LOWER, WITHIN
from analysis.statistics.comparisons import COLUMNS

VALIDATION = "validation error"

ERRORS = {
    "adversarial clean_error": "clean error",
    "adversarial robust_error (fgsm eps=8/255)": "error (FGSM 8/255)",
    "adversarial robust_error (pgd20 eps=2/255)": "error (PGD 2/255)",
    "adversarial robust_error (pgd20 eps=8/255)": "error (PGD 8/255)",
}
"""Quantities of the evaluation, all on the same test images, and their labels."""

MASKS = {
    "adversarial masked_one_step (eps=8/255)": "robust to one step alone",
    "adversarial masked_gradients (eps=8/255)": "gradients masked",
}
"""Indicators, 0 or 1, that the true robustness is lower than the measured one."""

BASELINES = ("off", "pgd")
"""Baselines: training without mixing and attacks, and training against attacks of several steps."""

MARGIN = 0.005
"""Largest difference in error that counts as none: half a point."""


def errors(sweep: Sweep) -> pd.DataFrame:
    """Gather the errors of completed trials, and their indicators of masked gradients.

    Args:
        sweep: from :func:`analysis.data.frames.load`.

    Returns:
        One row per completed trial: ``trial``, ``arm``, ``replicate``, ``validation error`` (last epoch), and one
        column for the label of each quantity of the evaluation, NaN if not measured. All are fractions.
    """
    labels = ERRORS | MASKS
    final = sweep.trials.set_index("trial")["final_val_top1_error"]
    values = values_of(sweep, list(labels)).rename(columns=labels)
    values.insert(3, VALIDATION, values["trial"].map(final).astype(float))
    return values


def measured_errors(values: pd.DataFrame) -> list[str]:
    """List the errors that any trial of :func:`errors` has, the validation error first."""
    return measured(values, [VALIDATION, *ERRORS.values()])


def compared(values: pd.DataFrame, *, baselines: Sequence[str] = BASELINES) -> pd.DataFrame:
    """Compare each arm with each baseline over trials of the same seed, error by error.

    Args:
        values: from :func:`errors`.
        baselines: arms; an arm that the study lacks is left out.

    Returns:
        Paired differences, one family per baseline and error: ``quantity``, then as from
        :func:`analysis.statistics.paired_differences`, with a test of equivalence within ``MARGIN``.
    """
    arms = [arm for arm in baselines if arm in values["arm"].cat.categories]
    table = long(values, measured_errors(values))
    parts = [
        statistics.paired_differences(
            table, value="value", baseline=arm, by=("quantity",), metric="quantity", margin=MARGIN
        )
        for arm in arms
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["quantity", *COLUMNS])


def masked(values: pd.DataFrame) -> pd.DataFrame:
    """Count the trials with indicators of masked gradients: one row per arm, ``n`` (measured), one column each."""
    signs = list(MASKS.values())
    of_arm = values.dropna(subset=signs, how="all").groupby("arm", observed=True)[signs]
    return of_arm.sum().astype(int).assign(n=of_arm.size())[["n", *signs]]


def verdict(differences: pd.DataFrame, signs: pd.DataFrame) -> list[str]:
    """Return the sentences that answer the study's question.

    Args:
        differences: from :func:`compared`.
        signs: from :func:`masked`.
    """
    pairs = differences[differences["n_pairs"] > 1]
    if pairs.empty:
        return ["Undecided: too few trials have completed for any interval."]
    sentences = [
        f"{_capital(quantity)}, against {baseline}: {statistics.summary_line(rows)} "
        f"(n = {_range(rows['n_pairs'])} pairs)."
        for (baseline, quantity), rows in differences.groupby(["baseline", "quantity"], sort=False)
    ]
    decided = int(differences["verdict"].isin([LOWER, HIGHER, WITHIN]).sum())
    return [
        *sentences,
        *_of_masks(signs),
        f"Decided: {decided} of {len(differences)} comparisons, by t-tests of pairs with Holm's correction at a joint "
        f"level of {100 * differences['confidence'].iloc[0]:.0f} % per error and baseline; the margin is "
        f"{100 * MARGIN:g} points.",
    ]


def _of_masks(signs: pd.DataFrame) -> list[str]:
    if signs.empty:
        return ["Undecided under attack: no trial has been measured on the axis adversarial."]
    sentences = []
    for sign in MASKS.values():
        counts = [f"{arm} in {row[sign]} of {row['n']}" for arm, row in signs[signs[sign] > 0].iterrows()]
        sentences += [f"{_capital(sign)}: {', '.join(counts)}."] if counts else []
    return sentences or [f"No sign of masked gradients in n = {signs['n'].sum()} trials."]


def _capital(text: object) -> str:
    return f"{str(text)[:1].upper()}{str(text)[1:]}"


def _range(counts: pd.Series[int]) -> str:
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
