"""Replay: the same course as a sweep's, measures against their definition, verdicts on planted curves."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from search_spaces.early_stopping.asha import AshaStopping
from search_spaces.early_stopping.none import NoStopping
from search_spaces.early_stopping.parse import format_rule, parse_rule
from search_spaces.study import Study
from sweep import cli
from sweep.findings.replay import (
    ALL_ARMS,
    MEASURES,
    Curves,
    asha,
    full_curves,
    kept_at_first_rung,
    measure_replay,
    random_order,
    replay,
    replay_order,
    rungs_of,
)
from sweep.records.reader import read_sweep
from sweep.terminal.early_stopping import print_replay
from tests.search_spaces.early_stopping.variants import variants
from trainables.errors import UserError
from trainables.seeds import generator

MakeStudy = Callable[..., Study]

FAST = {"grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
STOPPING = variants(needed=2, grace_period_epochs=1, reduction_factor=2)
every_rule = pytest.mark.parametrize("rule", STOPPING)


def curves_of(
    values: np.ndarray, arm: list[int], arms: tuple[str, ...] = ("a", "b"), search: list[int] | None = None
) -> Curves:
    searches = np.array(search if search else [0] * len(arm))
    return Curves(arms=arms, arm=np.array(arm), search=searches, values=values, top1_error=values / 10)


def noisy(rng: np.random.Generator, *, offset: np.ndarray, n_epochs: int = 9, noise: float = 0.05) -> np.ndarray:
    """Curves that fall to a level of their own; ``offset`` [N] is added early on and fades to nothing."""
    level, epochs = rng.uniform(0, 1, len(offset)), np.arange(1, n_epochs + 1)
    fading = np.maximum(0, 1 - epochs / n_epochs)
    return level[:, None] + offset[:, None] * fading + rng.normal(0, noise, (len(offset), n_epochs))


def replayed(curves: Curves, rule: str, n_orders: int = 20, n_workers: int = 3) -> pd.DataFrame:
    frame = replay(curves, STOPPING[rule], n_orders=n_orders, n_workers=n_workers, seed=0)
    return frame.set_index(["rungs", "arm"])


@pytest.mark.parametrize(("max_epochs", "rungs"), [(2, []), (3, [2]), (7, [2, 4])])
def test_rungs_lie_before_the_planned_epochs(max_epochs: int, rungs: list[int]) -> None:
    assert rungs_of(STOPPING["asha"].model_copy(update={"grace_period_epochs": 2}), max_epochs) == rungs
    assert rungs_of(NoStopping(), max_epochs) == []


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([], []),
        ([0.2, 0.1], [True, True]),  # fewer than three: the rule stops none
        ([0.3, 0.1, 0.2, 0.4, 0.1], [False, True, False, False, True]),  # one in three, and its tie
        ([0.5, 0.1, 0.2, 0.4, 0.3, 0.6], [False, True, True, False, False, False]),
    ],
)
def test_asha_keeps_the_best_third_of_a_rung(values: list[float], kept: list[bool]) -> None:
    assert kept_at_first_rung(asha(grace_period_epochs=3), values).tolist() == kept


class TestPlay:
    @every_rule
    def test_takes_the_course_of_a_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, rule: str) -> None:
        """The order of a sweep, played over the full curves of one without early stopping."""
        n_workers, budget, confirm = 3, {"trials": 8, "max_epochs": 6}, {"searches": 2, "seeds": 2}
        simulate(study_of(budget=budget, confirm=confirm), tmp_path / "full").run()
        study = study_of(budget={**budget, "early_stopping": STOPPING[rule].model_dump()}, confirm=confirm)
        simulate(study, tmp_path / "stopped", n_workers=n_workers).run()
        records = read_sweep(tmp_path / "full")
        number = records.trials["number"].to_numpy()
        curves = full_curves(records, metric="val_nll")
        order = np.lexsort((curves.arm, number)).tolist()
        ran = replay_order(curves, order, STOPPING[rule], n_workers=n_workers)
        stopped = read_sweep(tmp_path / "stopped").trials.set_index("trial")["epochs"]
        assert dict(zip(records.trials["trial"], ran, strict=True)) == stopped.to_dict()

    @every_rule
    @pytest.mark.parametrize("shared", [True, False])
    def test_runs_every_trial(self, rule: str, shared: bool) -> None:
        curves = curves_of(noisy(np.random.default_rng(0), offset=np.zeros(12)), [0, 1] * 6)
        ran = replay_order(curves, list(range(12)), STOPPING[rule], n_workers=4, shared=shared)
        assert ran.min() >= 1
        assert ran.max() == 9
        assert (ran == 9).all() == (rule == "none")

    def test_random_orders_let_the_arms_take_turns(self) -> None:
        curves = curves_of(np.zeros((8, 3)), [0] * 4 + [1] * 4)
        orders = [random_order(curves, rng=generator(seed)) for seed in range(40)]
        for order in orders:
            assert sorted(order) == list(range(8))
            assert {tuple(sorted(pair)) for pair in curves.arm[order].reshape(4, 2)} == {(0, 1)}
        assert {int(order[0]) for order in orders} == set(range(8))


class TestMeasure:
    VALUES = np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.3], [0.5, 0.4, 0.4], [0.6, 0.6, 0.2]])

    def of(self, ran: list[int]) -> dict[str, float]:
        curves = curves_of(self.VALUES, [0] * 4, ("a",))
        return measure_replay(curves, np.array(ran), np.ones(4, bool))

    def test_all_kept(self) -> None:
        assert self.of([3, 3, 3, 3]) == {
            "kept_frac": 1.0,
            "saved_frac": 0.0,
            "regret": 0.0,
            "regret_top1_error": 0.0,
            "winner_stopped_frac": 0.0,
        }

    def test_the_winner_stopped(self) -> None:
        measured = self.of([1, 3, 3, 2])
        assert measured["winner_stopped_frac"] == 1
        assert measured["kept_frac"] == 0.5
        assert measured["saved_frac"] == pytest.approx(3 / 12)
        assert measured["regret"] == pytest.approx(0.3 - 0.1)
        assert measured["regret_top1_error"] == pytest.approx(0.03 - 0.01)

    def test_none_kept(self) -> None:
        """The best of those that came furthest counts as it was left, not as it would have become."""
        assert self.of([1, 1, 2, 2])["regret"] == pytest.approx(0.4 - 0.1)

    def test_each_search_has_a_winner(self) -> None:
        curves = curves_of(self.VALUES, [0] * 4, ("a",), search=[0, 0, 1, 1])
        measured = measure_replay(curves, np.array([1, 3, 3, 3]), np.ones(4, bool))
        assert measured["winner_stopped_frac"] == 0.5
        assert measured["regret"] == pytest.approx((0.3 - 0.1) / 2)
        assert measured["kept_frac"] == 0.75

    def test_only_the_arm_that_is_asked_for(self) -> None:
        curves = curves_of(self.VALUES, [0, 0, 1, 1])
        measured = measure_replay(curves, np.array([1, 1, 3, 2]), curves.arm == 1)
        assert measured["regret"] == pytest.approx(0.4 - 0.2)
        assert measured["kept_frac"] == 0.5


class TestPlanted:
    @every_rule
    def test_without_noise_the_winner_is_never_stopped(self, rule: str) -> None:
        """Levels that keep their order at all epochs: whoever is best is among the best at every rung."""
        levels = np.random.default_rng(1).permutation(16).astype(float)
        frame = replayed(curves_of(levels[:, None] + 1 / np.arange(1, 10), [0, 1] * 8), rule)
        assert frame["winner_stopped_frac"].xs("own").eq(0).all()
        assert frame["regret"].xs("own").eq(0).all()
        assert frame.loc[("shared", ALL_ARMS), "winner_stopped_frac"] == 0

    @pytest.mark.parametrize("rule", ["asha", "asha-promote", "hyperband", "median"])
    def test_a_slow_arm_keeps_its_share_unless_rungs_are_shared(self, rule: str) -> None:
        arm = np.array([0, 1] * 16)
        frame = replayed(curves_of(noisy(np.random.default_rng(2), offset=2.0 * arm), arm.tolist()), rule)["kept_frac"]
        assert frame["own", "b"] > frame["own", "a"] - 0.15  # the median rule favours whoever falls steeply
        assert frame["shared", "b"] < 0.5 * frame["own", "b"]
        assert frame["shared", "b"] < 0.5 * frame["shared", "a"]

    def test_a_null_study_prefers_no_arm(self) -> None:
        arm = [0, 1] * 8
        kept: dict[str, list[float]] = {"own": [], "shared": []}
        for seed in range(150):
            curves = curves_of(noisy(np.random.default_rng(seed), offset=np.zeros(16)), arm)
            frame = replay(curves, STOPPING["asha"], n_orders=2, n_workers=3, seed=seed)
            for rungs, differences in kept.items():
                a, b, _ = frame.loc[frame["rungs"] == rungs, "kept_frac"]
                differences.append(a - b)
        for rungs, differences in kept.items():
            assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(150), rungs


class TestReplay:
    CURVES = curves_of(noisy(np.random.default_rng(3), offset=np.zeros(16), noise=0.3), [0, 1] * 8)

    def test_rows(self) -> None:
        frame = replayed(self.CURVES, "asha")
        assert list(frame.index) == [(rungs, arm) for rungs in ("own", "shared") for arm in ("a", "b", ALL_ARMS)]
        assert frame["n_curves"].tolist() == [8, 8, 16] * 2

    def test_one_arm_has_no_shared_rungs(self) -> None:
        curves = curves_of(self.CURVES.values, [0] * 16, ("a",))
        assert list(replayed(curves, "asha").index) == [("own", "a")]

    def test_is_a_function_of_its_seed(self) -> None:
        first, again = (replayed(self.CURVES, "asha") for _ in range(2))
        pd.testing.assert_frame_equal(first, again)
        other = replay(self.CURVES, STOPPING["asha"], n_orders=20, n_workers=3, seed=1)
        assert not other.equals(first.reset_index())

    def test_intervals_hold_the_mean_of_many_orders(self) -> None:
        many = replayed(self.CURVES, "asha", n_orders=1500)
        few = replayed(self.CURVES, "asha", n_orders=60)
        for name in MEASURES:
            assert ((few[f"{name}_lo"] <= few[name]) & (few[name] <= few[f"{name}_hi"])).all()
            inside = (few[f"{name}_lo"] <= many[name]) & (many[name] <= few[f"{name}_hi"])
            assert inside.mean() >= 0.6, name  # the rows share their orders

    def test_never_stopped_is_not_never(self) -> None:
        row = replayed(self.CURVES, "none").loc[("own", ALL_ARMS)]
        assert (row["winner_stopped_frac"], row["winner_stopped_frac_lo"]) == (0, 0)
        assert 0.1 < row["winner_stopped_frac_hi"] < 0.2  # of 20 orders


class TestFullCurves:
    def test_all_of_a_sweep_without_early_stopping(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(budget={"trials": 4, "max_epochs": 5}), tmp_path).run()
        records = read_sweep(tmp_path)
        curves = full_curves(records, metric="val_top1_error")
        assert curves.values.shape == (12, 5)
        assert (curves.values == curves.top1_error).all()
        first = records.epochs[records.epochs["trial"] == records.trials["trial"].iloc[0]].sort_values("epoch")
        assert curves.values[0].tolist() == first["val_top1_error"].tolist()
        assert curves.arm.tolist() == [list(curves.arms).index(arm) for arm in records.trials["arm"]]

    def test_control_trials_of_others(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        """Other survivors were chosen by the rule, and would flatter it."""
        budget = {"trials": 10, "max_epochs": 5, "control_frac": 0.5}
        simulate(study_of(budget={**budget, "early_stopping": {"rule": "asha", **FAST}}), tmp_path).run()
        records = read_sweep(tmp_path)
        assert (records.trials["status"] == "completed").sum() > records.trials["control"].sum() == 15
        assert full_curves(records, metric="val_nll").values.shape == (15, 5)

    def test_too_few(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path).run()
        with pytest.raises(UserError, match=r"arm 'off' has 0 completed trials .* needs 4.*rule=none.*control_frac"):
            full_curves(read_sweep(tmp_path), metric="val_nll")

    def test_too_few_per_search(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(budget={"trials": 6, "max_epochs": 2}, confirm={"searches": 2}), tmp_path).run()
        with pytest.raises(UserError, match=r"has 3 completed trials .* per search \(median\); a replay needs 4"):
            full_curves(read_sweep(tmp_path), metric="val_nll")

    def test_a_metric_that_is_not_recorded(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path).run(1)
        with pytest.raises(UserError, match=r"--metric 'val_nl' .*did you mean 'val_nll'"):
            full_curves(read_sweep(tmp_path), metric="val_nl")


class TestCommand:
    @pytest.fixture
    def sweep_dir(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Path:
        simulate(study_of(budget={"trials": 5, "max_epochs": 6}), tmp_path / "sweep").run()
        return tmp_path / "sweep"

    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
        def run(*arguments: object) -> tuple[int, str, str]:
            monkeypatch.setenv("COLUMNS", "80")
            monkeypatch.setattr(sys, "argv", ["cutmix-sweep", "replay", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            return int(ended.value.code or 0), *capsys.readouterr()

        return run

    def test_compares_rules(self, run: Any, sweep_dir: Path, tmp_path: Path) -> None:
        rules = ["--rule", "asha,grace_period_epochs=2,reduction_factor=2", "--rule", "median,min_recorded=2"]
        status, out, err = run(sweep_dir, *rules, "--orders", 9, "--csv", tmp_path / "all.csv")
        assert (status, err) == (0, "")
        assert out.count("\noff ") == 4
        frame = pd.read_csv(tmp_path / "all.csv")
        assert frame["rule"].unique().tolist() == [
            "asha,grace_period_epochs=2,min_recorded=3,reduction_factor=2,mode=stop",
            "median,grace_period_epochs=3,min_recorded=2,interval_epochs=1,averages_from_epoch=1",
        ]
        assert len(frame) == 16

    def test_without_a_rule_the_defaults(self, run: Any, sweep_dir: Path) -> None:
        status, out, _ = run(sweep_dir, "--orders", 2)
        assert status == 0
        assert out.startswith(format_rule(AshaStopping()))

    def test_without_a_rule_the_sweep_s_own(self, run: Any, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        stopping = {"rule": "hyperband", **FAST}
        budget = {"trials": 8, "max_epochs": 5, "control_frac": 0.6, "early_stopping": stopping}
        simulate(study_of(budget=budget), tmp_path).run()
        status, out, _ = run(tmp_path, "--orders", 2, "--metric", "val_top1_error")
        assert status == 0
        assert out.startswith("hyperband,grace_period_epochs=1")
        assert "points" in out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--rule", "ahsa"], "did you mean 'asha'?"),
            (["--rule", "asha,grace_period=1"], "did you mean 'grace_period_epochs'?"),
            (["--rule", "asha,mode"], "NAME,PARAMETER=VALUE"),
            (["--rule", "asha,reduction_factor=x"], "got 'x'"),
            (["--rule", "asha,min_recorded=6"], "min_recorded is 6, but a search has 5 trials"),
            (["--metric", "loss"], "--metric 'loss' is not recorded"),
            (["--csv", "no_folder/x.csv"], "no folder 'no_folder'"),
        ],
    )
    def test_refuses(self, run: Any, sweep_dir: Path, arguments: list[str], words: str) -> None:
        status, out, err = run(sweep_dir, *arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: --")
        assert words in err

    @every_rule
    def test_a_rule_comes_back_from_its_text(self, rule: str) -> None:
        stopping = STOPPING[rule]
        assert type(stopping).model_validate(parse_rule(format_rule(stopping))) == stopping

    def test_fits_80_columns(self) -> None:
        curves = curves_of(TestReplay.CURVES.values, [0, 1] * 8, ("strip_horizontal", "b"))
        frame = replayed(curves, "asha").reset_index().assign(rule="asha", metric="val_top1_error")
        console = Console(file=io.StringIO(), width=80)
        print_replay(frame, console, n_orders=20, n_workers=3)
        assert isinstance(console.file, io.StringIO)
        lines = [line for line in console.file.getvalue().splitlines() if not line.startswith(("Means", "Regret"))]
        assert max(map(len, lines)) <= 80
        assert all(f"{row:.1f}" in console.file.getvalue() for row in 100 * frame["kept_frac"])


def test_rungs_of_several_searches_are_named() -> None:
    curves = curves_of(TestReplay.CURVES.values, [0, 1] * 8, search=[0] * 8 + [1] * 8)
    frame = replayed(curves, "asha", n_orders=2).reset_index().assign(rule="asha", metric="val_top1_error")
    assert frame["n_searches"].tolist() == [2] * 6
    text = io.StringIO()
    print_replay(frame, Console(file=text, width=200), n_orders=2, n_workers=3)
    assert "Rungs: separate for each search of each arm." in text.getvalue()
    assert "Means over the 2 searches per arm" in text.getvalue()


def test_trials_of_unequal_length_are_refused(simulate: Any, study_of: Callable[..., Any], tmp_path: Path) -> None:
    space = {"optimizer.max_epochs": {"kind": "choice", "values": [2, 4]}}
    budget = {"trials": 8, "max_epochs": 4, "early_stopping": {"rule": "none"}}
    simulate(study_of(arms={"off": {"mix": "off"}}, space=space, budget=budget), tmp_path).run()
    with pytest.raises(UserError, match="different planned epochs"):
        full_curves(read_sweep(tmp_path), metric="val_nll")
