"""What figures compute, against values by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import plots
from analysis.data import evaluations
from analysis.data.frames import Sweep, load
from analysis.plots.style import arm_style


def trials_of(values: dict[str, list[float]], **columns: Any) -> pd.DataFrame:
    """Completed trials, the arms' values by replicate; nan: not completed."""
    rows = [
        {"arm": arm, "trial": f"{arm}-{replicate}", "replicate": replicate, "final_val_top1_error": value}
        for arm, of_arm in values.items()
        for replicate, value in enumerate(of_arm)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_learning_curves_hold_the_quartiles_of_the_trials_alive() -> None:
    epochs = pd.DataFrame(
        {"arm": "off", "epoch": [1, 1, 1, 2], "val_top1_error": [0.1, 0.2, 0.6, 0.05], "trial": list("abca")}
    )
    info = plots.learning_curves_info(epochs)
    assert info["centre"].tolist() == pytest.approx([0.2, 0.05])
    assert info["low"].tolist() == pytest.approx([0.15, 0.05])
    assert info["high"].tolist() == pytest.approx([0.4, 0.05])
    assert info["n"].tolist() == [3, 1]


def test_the_mean_of_a_curve_has_the_t_interval_and_none_of_two() -> None:
    values = [0.1, 0.2, 0.6, 0.3]
    epochs = pd.DataFrame({"arm": "off", "epoch": [1] * 4 + [2] * 2, "val_top1_error": [*values, 0.1, 0.2]})
    info = plots.learning_curves_info(epochs.assign(trial=list("abcdab")), centre="mean", confidence=0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert info.loc[0, ["low", "centre", "high"]].tolist() == pytest.approx([expected.low, 0.3, expected.high])
    assert info.loc[1, ["low", "high"]].isna().all()


def test_curves_over_seeds_average_the_trials_of_a_seed_first() -> None:
    epochs = pd.DataFrame({"arm": "off", "epoch": 1, "val_top1_error": [0.1, 0.3, 0.8], "trial": list("abc")})
    trials = pd.DataFrame({"trial": list("abc"), "replicate": [0, 0, 1]})
    info = plots.learning_curves_info(epochs, trials=trials)
    assert (info["centre"].item(), info["n"].item()) == (pytest.approx(0.5), 2)
    assert info["unit"].item() == "seeds"


def test_an_unknown_centre_is_refused(planted: Sweep) -> None:
    with pytest.raises(ValueError, match="median, mean"):
        plots.learning_curves_info(planted.epochs, centre="mode")  # type: ignore[arg-type]


def test_learning_curves_lose_the_stopped_trials(planted: Sweep) -> None:
    info = plots.learning_curves_info(planted.epochs)
    alive = info[info["arm"] == "cutmix"].set_index("epoch")["n"]
    assert alive[1] == 24
    assert alive[12] == (planted.trials.query("arm == 'cutmix'")["status"] == "completed").sum()
    assert alive.is_monotonic_decreasing


def test_learning_curves_are_labelled(planted: Sweep) -> None:
    ax = plots.learning_curves(plots.learning_curves_info(planted.epochs))
    assert ax.get_ylabel() == "validation top-1 error (%)"
    assert ax.lines[0].get_ydata()[0] > 1  # percent, where the frame holds fractions
    strip = ax.figure.axes[1]
    assert (strip.get_xlabel(), strip.get_ylabel()) == ("epoch", "trials (n)")
    legend = strip.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text().startswith("off (n = 24 → ")


def test_final_error_holds_every_trial_and_the_arms_median(planted: Sweep, rng: np.random.Generator) -> None:
    info = plots.final_error_info(planted.trials, rng=rng)
    assert len(info) == len(planted.trials)
    for _, arm in info.groupby("arm", observed=True):
        first = arm.iloc[0]
        assert first["median"] == pytest.approx(arm["value"].median())
        assert first["low"] <= first["median"] <= first["high"]
        assert first["n"] == arm["value"].notna().sum()
        assert (arm[["n", "median", "low", "high"]].nunique() == 1).all()


def test_final_error_names_n(planted: Sweep, rng: np.random.Generator) -> None:
    info = plots.final_error_info(planted.trials, rng=rng)
    ax = plots.final_error(info)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == f"off\nn = {info['value'][info['arm'] == 'off'].notna().sum()} of 24"
    assert ax.get_xlabel() == "validation top-1 error (%), last epoch"
    assert "95 %" in ax.get_title()


def test_an_arm_with_few_completed_trials_has_a_median_and_no_interval(simulate: Any, rng: np.random.Generator) -> None:
    info = plots.final_error_info(load(simulate(n_trials=2, stop=False)).trials, rng=rng)
    assert info["median"].notna().all()
    assert info["low"].isna().all()
    plots.final_error(info).figure.canvas.draw()


def test_a_joined_column_is_a_value_as_well(rng: np.random.Generator) -> None:
    trials = trials_of({"a": [0.1]}, **{"classification top1_error": 0.25})
    info = plots.final_error_info(trials, rng=rng, metric="classification top1_error")
    assert info["value"].item() == 0.25
    assert plots.final_error(info).get_xlabel().startswith("classification top1 error (%)")
    with pytest.raises(ValueError, match="unknown metric 'nothing'"):
        plots.final_error_info(trials, rng=rng, metric="nothing")


def test_forest_compares_seed_by_seed_and_averages_a_grid() -> None:
    noise = [0.1, 0.5, 0.3, 0.7, 0.2, 0.4]
    gains = [0.01 + 0.001 * at for at in range(6)]
    few = [noise[0] - 0.02] + [np.nan] * 5
    trials = trials_of({"a": noise, "b": [x + gain for x, gain in zip(noise, gains, strict=True)], "c": few})
    other_point = trials.assign(final_val_top1_error=trials["final_val_top1_error"] + 0.1)
    info = plots.forest_info(pd.concat([trials, other_point]), baseline="a").set_index("arm")
    assert info["estimate"].tolist() == pytest.approx([0.0125, -0.02])
    assert info["n_pairs"].tolist() == [6, 1]
    assert info["verdict"].tolist() == ["higher", "too few"]
    both = stats.ttest_1samp(gains, 0).confidence_interval(0.975)  # Bonferroni, of two
    assert info.loc["b", ["low", "high"]].tolist() == pytest.approx([both.low, both.high])
    with pytest.raises(ValueError, match="choose one of a, b, c"):
        plots.forest_info(trials, baseline="d")


def test_forest_says_what_it_compares() -> None:
    values = {"a": [0.1, 0.2, 0.3, 0.2, 0.3], "b": [0.2, 0.3, 0.45, 0.3, 0.4], "c": [np.nan] * 5}
    values["d"] = [value + step for value, step in zip(values["a"], (0.01, -0.01, 0.02, -0.02, 0.0), strict=True)]
    trials = trials_of(values).astype({"arm": pd.CategoricalDtype(list("abcd"))})
    ax = plots.forest(plots.forest_info(trials, baseline="a", margin=0.05))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b (n = 5)", "d (n = 5)"]
    assert "difference in validation top-1 error to a (points" in ax.get_xlabel().replace("\n", " ")
    first, second = ax.lines[:2]
    assert first.get_xdata()[0] == pytest.approx(11)  # points, where the frame holds fractions
    assert first.get_color() == first.get_markerfacecolor() == arm_style(1).colour  # that of b in every figure
    assert second.get_markerfacecolor() not in (arm_style(3).colour, "white")  # shown to be within the margin
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "decided (Holm)",
        "no difference larger than the\nmargin",
    ]


def test_response_holds_every_trial_of_the_arm(planted: Sweep) -> None:
    info = plots.response_info(planted.trials)
    assert len(info) == 24
    assert info["x"].between(0.1, 4).all()
    assert info["y"].between(0, 1).all()
    assert set(info["marker"]) == {"clip", "inside", "torus"}
    assert (info["value"].notna() == (info["status"] == "completed")).all()


def test_response_is_labelled(planted: Sweep) -> None:
    info = plots.response_info(planted.trials)
    ax = plots.response(info)
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "mix.apply.prob")
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert [text.split()[0] for text in texts] == ["clip", "inside", "torus", "not"]
    assert texts[-1] == f"not completed (n = {info['value'].isna().sum()})"


def test_response_of_an_arm_without_the_choice(planted: Sweep) -> None:
    info = plots.response_info(planted.trials, arm="mixup")
    assert set(info["marker"]) == {""}
    legend = plots.response(info).get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"completed (n = {info['value'].notna().sum()})"


def test_evaluations_are_spread_by_axis_metric_and_setting() -> None:
    rows = [
        ("t0", "calibration", "test", "raw", "ece", 0.1, 1.0),
        ("t0", "calibration", "test", "scaled", "ece", 0.05, 1.0),
        ("t0", "classification", "test", "last", "top1_error", 0.3, 1.0),
        ("t0", "classification", "test", "last", "top1_error", 0.4, 2.0),  # measured again under other settings
        ("t0", "classification", "val", "last", "top1_error", 0.9, 3.0),
        ("t1", "classification", "test", "last", "top1_error", 0.2, 1.0),
    ]
    columns = ["trial", "axis", "split", "setting", "metric", "value", "time_s"]
    wide = evaluations.by_axis(pd.DataFrame(rows, columns=columns).assign(arm="a")).set_index("trial")
    assert wide.loc["t0"].drop("arm").to_dict() == {
        "calibration ece (raw)": 0.1,
        "calibration ece (scaled)": 0.05,
        "classification top1_error": 0.4,
    }
    assert wide.loc["t1"].notna().tolist() == [c in ("arm", "classification top1_error") for c in wide]


@pytest.mark.parametrize(("higher", "front"), [((), {"b", "c"}), (("y",), {"d", "c"}), (("x", "y"), {"d", "e"})])
def test_the_front_holds_what_no_trial_beats_in_both(higher: tuple[str, ...], front: set[str]) -> None:
    points = {"b": (2.0, 1.0), "c": (1.0, 2.0), "d": (2.0, 4.0), "e": (3.0, 3.0), "f": (3.0, 3.0), "g": (1.0, np.nan)}
    values = pd.DataFrame([(name, *point) for name, point in points.items()], columns=["trial", "x", "y"])
    info = plots.pareto_info(values.assign(arm="a"), x="x", y="y", higher=higher)
    assert "g" not in set(info["trial"])
    found = set(info["trial"][info["is_front"]])
    assert found == (front | {"f"} if "e" in front else front)  # equal trials do not beat one another


def test_doses_stand_beside_gains() -> None:
    trials = pd.DataFrame({"arm": ["a", "a", "b", "c"], "dose_exposure": [0.1, 0.3, 0.4, np.nan]})
    gains = pd.DataFrame({"arm": ["a", "b", "c"], "estimate": [-0.01, np.nan, 0.02]})
    gains = gains.assign(low=-0.02, high=0.0, n_pairs=5, baseline="off", confidence=0.95, metric="val_top1_error")
    info = plots.dose_gain_info(trials, gains, doses=["dose_exposure"])
    assert info[["arm", "amount", "n_trials", "estimate"]].values.tolist() == [["a", 0.2, 2, -0.01]]
    with pytest.raises(ValueError, match="choose one of dose_exposure"):
        plots.dose_gain_info(trials, gains, doses=["dose_area"])


def test_stopping_orders_the_decisions_of_a_rung(planted: Sweep) -> None:
    info = plots.stopping_info(planted.decisions)
    assert len(info) == len(planted.decisions)
    slot = info[(info["arm"] == "off") & (info["rung_epochs"] == 3)]
    assert slot["n_recorded"].tolist() == list(range(1, 25))
    assert slot["order"].is_monotonic_increasing
    assert info["order"].between(0, 1).all()
    stopped = info["verdict"] == "stop"
    assert stopped.sum() == (planted.trials["status"] == "stopped").sum()
    judged = info["cutoff"].notna()
    assert (stopped[judged] == (info["value"] > info["cutoff"])[judged]).all()


def test_decisions_are_timed_from_the_first() -> None:
    rows = {"arm": "a", "trial": list("xyz"), "rung_epochs": 2, "value": 0.5, "cutoff": np.nan, "metric": "val_nll"}
    decisions = pd.DataFrame({**rows, "n_recorded": [1, 2, 3], "verdict": "continue", "time_s": [100.0, 160.0, 400.0]})
    info = plots.stopping_info(decisions)
    assert info["minutes"].tolist() == [0, 1, 5]
    ax = plots.timeline(info)
    assert ax.get_xlabel() == "minutes since the first decision"
    assert "all 1 arms, n = 3" in ax.get_title()


def test_stopping_is_labelled(planted: Sweep) -> None:
    ax = plots.stopping(plots.stopping_info(planted.decisions))
    assert [label.get_text().split("\n")[0] for label in ax.get_xticklabels()] == ["3", "6"]
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0].startswith("off (ended ")
    assert [text.split(" (")[0] for text in texts[-3:]] == ["continued", "stopped", "cutoff"]


def test_rungs_stand_beside_the_end_within_arms(rng: np.random.Generator) -> None:
    trials = trials_of({"a": [0.25, 0.5, 0.75, 1.0], "b": [1.25, 1.5, 1.75, 2.0], "c": [np.nan]})
    trials["control"] = [True, False] * 4 + [True]
    manifest: dict[str, Any] = {"study": {"budget": {"early_stopping": {"rule": "none"}}}}
    at_rung = [1.0, 0.75, 0.5, 0.25, 3.0, 2.75, 2.5, 2.25, 0.5]
    epochs = pd.concat(
        [trials[["arm", "trial"]].assign(epoch=epoch, val_top1_error=at_rung) for epoch in (1, 2)], ignore_index=True
    )
    sweep = Sweep(manifest, trials, epochs, pd.DataFrame(), pd.DataFrame())
    info = plots.rung_to_final_info(sweep, rungs=[2, 8], rng=rng)
    assert (set(info["rung_epochs"]), len(info)) == ({2}, 8)
    # over both arms the order looks right, and within each it is reversed
    assert stats.spearmanr(info["value"], info["final"]).statistic > 0
    assert info["correlation"].unique() == pytest.approx([-1])
    manifest["study"]["budget"]["early_stopping"]["rule"] = "asha"  # then all but the controls were chosen by it
    control = plots.rung_to_final_info(sweep, rungs=[2], rng=rng)
    assert control["n"].tolist() == [4] * 4


def test_profile_averages_settings_and_then_seeds() -> None:
    rows = [
        {"arm": arm, "replicate": seed, "params.g": g, "params.s": s, "final_val_top1_error": 10 * seed + g + s}
        for arm in ("a", "b")
        for seed in range(3)
        for g in (2.0, 0.5)
        for s in (0.0, 1.0)
    ]
    trials = pd.DataFrame(rows).astype({"arm": pd.CategoricalDtype(["b", "a", "c"], ordered=True)})
    info = plots.profile_info(trials, x="g")
    assert info["x"].astype(str).tolist() == ["0.5", "2", "0.5", "2"]
    assert info["series"].astype(str).tolist() == ["b", "b", "a", "a"]
    assert info["estimate"].tolist() == pytest.approx([11, 12.5, 11, 12.5])
    low, high = stats.t.interval(0.95, 2, loc=11, scale=10 / np.sqrt(3))
    assert info.loc[0, ["low", "high"]].tolist() == pytest.approx([low, high])
    assert set(info["n"]) == {3}
    whole = plots.profile_info(trials, x="g", series="s", panel="arm")
    assert len(whole) == 8
    assert whole["panel"].astype(str).tolist()[0] == "b"
    trials.loc[0, "final_val_top1_error"] = np.nan
    assert plots.profile_info(trials, x="g").set_index(["series", "x"]).loc[("a", "2"), "n"] == 2


def test_profile_leaves_out_what_is_not_drawn() -> None:
    trials = pd.DataFrame({"arm": ["a"], "replicate": [0], "final_val_top1_error": [0.5]})
    assert plots.profile_info(trials.astype({"arm": "category"}), x="mix.g").empty
