"""Tables for readers: what is rounded, what is shown, and that LaTeX and HTML say the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.report.tables import MISSING, as_text, has_cut_interval, has_index


def cells(frame: pd.DataFrame, **given: object) -> dict[str, list[str]]:
    text = as_text(frame, **given)  # type: ignore[arg-type]
    return {str(name): list(text.cells[name]) for name in text.cells}


def test_shares_are_percent_and_their_differences_points() -> None:
    frame = pd.DataFrame({"arm": ["off", "cutmix"], "error": [0.30658, 0.31678], "estimate": [np.nan, -0.0102]})
    assert cells(frame, percent=["error"], points=["estimate"]) == {
        "arm": ["off", "cutmix"],
        "error (%)": ["30.66", "31.68"],
        "estimate (points)": [MISSING, "-1.02"],
    }


def test_knows_an_interval_that_is_cut() -> None:
    frame = pd.DataFrame({"error": [0.1], "omega2": [0.1], "estimate": [0.0], "low": [0.0], "high": [0.2]})
    ends = ("low", "high")
    assert has_cut_interval(frame, percent=["error"], intervals={"error": ends})
    assert not has_cut_interval(frame, percent=["omega2"], intervals={"omega2": ends})  # its bound is part of its law
    assert not has_cut_interval(frame, points=["estimate"], intervals={"estimate": ends})
    assert has_cut_interval(frame.assign(low=-1.0), points=["estimate"], intervals={"estimate": ends})
    assert not has_cut_interval(frame.assign(low=0.01), percent=["error"], intervals={"error": ends})


def test_an_interval_stands_behind_its_estimate() -> None:
    frame = pd.DataFrame({"error": [0.3, 0.4], "low": [0.25, np.nan], "high": [0.35, np.nan]})
    shown = cells(frame, percent=["error"], intervals={"error": ("low", "high")})
    assert shown == {"error (%)": ["30.00 (25.00 to 35.00)", "40.00"]}


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([1.0, 2.0, np.nan], ["1", "2", MISSING]),  # whole numbers that a missing one has made floats
        ([0.12345, 0.9], ["0.123", "0.900"]),
        ([123.456, 7.0], ["123", "7"]),
        ([1e-5, 0.3], ["1e-05", "0.3"]),  # as many digits as the largest needs would lose the smallest
        ([True, False], ["yes", "no"]),
        ([8241295938561257958, 3], ["8241295938561257958", "3"]),
        ([None, "", ("a", "b")], [MISSING, MISSING, "a, b"]),
    ],
)
def test_digits_suit_the_column(values: list[object], written: list[str]) -> None:
    assert cells(pd.DataFrame({"x": values})) == {"x": written}


def test_an_index_is_shown_where_it_says_something() -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    assert not has_index(frame)
    assert not has_index(frame.iloc[1:])
    assert cells(frame.set_axis(["a", "b"])) == {"": ["a", "b"], "x": ["1", "2"]}
    assert cells(frame.rename_axis("fold")) == {"fold": ["0", "1"], "x": ["1", "2"]}


def test_headers_that_are_values_stay_as_they_are() -> None:
    frame = pd.DataFrame({"arm": ["off"], "n_pairs": [5], "strip_h": [1]})
    assert list(cells(frame)) == ["arm", "n pairs", "strip h"]
    assert list(cells(frame.set_index("arm").rename_axis(columns="arm of"))) == ["arm", "n_pairs", "strip_h"]


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no columns eror in a table of error"):
        as_text(pd.DataFrame({"error": [0.1]}), percent=["eror"])


def test_latex_is_escaped_and_aligned() -> None:
    frame = pd.DataFrame({"arm": ["a_b & c"], "error": [0.5], "why": ["x" * 80]})
    assert as_text(frame, percent=["error"]).latex() == "\n".join(
        [
            r"\begin{tabular}{lrp{0.6\linewidth}}",
            r"\toprule",
            r"arm & error (\%) & why \\",
            r"\midrule",
            rf"a\_b \& c & 50.00 & {'x' * 80} \\",
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def test_html_is_escaped_and_the_same_each_time() -> None:
    text = as_text(pd.DataFrame({"<b>": ["<script>"]}))
    html = text.styled("one").to_html()
    assert html == text.styled("one").to_html()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "<b>" not in html
