"""The figure of evaluated quantities can be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots


def means_of(arms: list[str], n_axes: int) -> pd.DataFrame:
    rows = [
        {
            **{
                "axis": f"axis_{axis}",
                "split": "test",
                "setting": setting,
                "metric": "some_error",
                "arm": arm,
                "unit": "seed",
            },
            **{"n": 5, "estimate": 0.3 + 0.01 * place, "low": 0.28, "high": np.nan if place else 0.33},
        }
        for axis in range(n_axes)
        for setting in ("", "pgd20 eps=8/255")
        for place, arm in enumerate(arms)
    ]
    columns = ["axis", "split", "setting", "metric", "arm", "unit", "n", "estimate", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"arm": pd.CategoricalDtype(arms, ordered=True)})


@pytest.mark.parametrize("n_axes", [0, 1, 5])
def test_a_panel_shows_the_first_quantity_of_an_axis(n_axes: int, check_legible: Callable[[Figure], None]) -> None:
    info = plots.first_quantities(means_of(["off", "cutmix_torus_displaced_source_box_in_box"], n_axes))
    figure = plots.measured(info)
    check_legible(figure)
    assert [ax.get_title() for ax in figure.axes if ax.axison] == [f"axis_{axis}" for axis in range(n_axes)]
    assert set(info["setting"]) <= {""}
