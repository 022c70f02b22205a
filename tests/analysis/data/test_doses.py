from __future__ import annotations

import pandas as pd
import pytest

from analysis.data.doses import doses


def test_doses_are_means_of_what_is_recorded() -> None:
    trials = pd.DataFrame(
        {"arm": ["box", "box", "off"], "dose_exposure": [0.1, 0.2, 0.0], "dose_boundary_px": [8.0, 10.0, 0.0]}
    )
    table = doses(trials)
    assert table.loc["box"].to_dict() == pytest.approx({"exposure": 0.15, "boundary, px": 9.0})
    assert table.loc["off"].to_dict() == {"exposure": 0.0, "boundary, px": 0.0}
