"""Names in tables are whole, and no text of a user is markup."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from search_spaces.discover import load_study
from search_spaces.study import Study
from sweep.conductor import Job
from sweep.doctor import OK, WRONG, Check
from sweep.endings import FAILED_CODE, NO_RESULT_CODE
from sweep.findings.confirmed import search_winners
from sweep.findings.replay import replay_sweep
from sweep.lock import locked
from sweep.records.reader import read_sweep
from sweep.records.schema import CONFIRM
from sweep.status import describe_unfinished, read_status
from sweep.terminal.display import TerminalDisplay
from sweep.terminal.early_stopping import print_replay, print_why
from sweep.terminal.evaluation import print_evaluated
from sweep.terminal.status import print_status
from sweep.terminal.study import describe_budget, print_checks, print_plan, print_studies, print_study

MakeStudy = Callable[..., Study]
LONG = "cutmix_with_a_name_that_is_longer_than_a_terminal_likes"
ARMS = {"off": {"mix": "off"}, LONG: {"mix": {"preset": "cutmix_torus", "mask": {"family": "ellipse"}}}}
MARKUP = "[bold]what[/b] :smile:"


def narrow() -> Console:
    return Console(file=io.StringIO(), width=80)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def study(study_of: MakeStudy) -> Study:
    return study_of(arms=ARMS, budget={"trials": 4, "max_epochs": 2}, confirm={"configs": 1, "searches": 1, "seeds": 2})


@pytest.fixture
def sweep_dir(simulate: Any, study: Study, tmp_path: Path) -> Path:
    simulate(study, tmp_path / "sweep").run()
    return tmp_path / "sweep"


class TestNamesOfArms:
    def test_in_status(self, sweep_dir: Path) -> None:
        print_status(sweep_dir, console := narrow())
        assert f"\n{LONG} " in text_of(console)
        assert f"\n{LONG}-000" in text_of(console)  # of the confirmation

    def test_in_a_study(self, study: Study) -> None:
        print_study(study, console := narrow())
        assert f"\n{LONG} " in text_of(console)

    def test_in_a_plan(self, study: Study) -> None:
        estimate = SimpleNamespace(value=0.25, se=0.01)
        names = ("pasted_frac", "exposure", "label_entropy", "nothing_pasted", "boundary_px")
        regions = ("coverage_centre", "coverage_edge", "coverage_corner")
        dose = SimpleNamespace(mean_prob=0.5, **dict.fromkeys((*names, *regions), estimate))
        sizes = {"n_trials": 8, "n_confirming": 4, "max_epochs": 24, "n_train": (80, 80), "n_val": (20, 20)}
        speed = {"height_px": 32, "width_px": 32, "images_per_s": (9.0, 9.0), "slots": 2, "seconds": 99.0}
        measured = {
            "rooms": (),
            "measured": None,
            "no_time": "",
            "disk": (),
            "networks": (),
            "train_flops": (1e12, 1e12),
        }
        plan: Any = SimpleNamespace(**sizes, **speed, **measured, doses=dict.fromkeys(ARMS, dose), matched=(LONG,))
        print_plan(study, plan, console := narrow())
        assert f"\n={LONG} " in text_of(console)

    def test_in_a_replay(self, sweep_dir: Path) -> None:
        frame = replay_sweep(
            sweep_dir, rules=["asha,grace_period_epochs=1"], metric=None, n_orders=2, n_workers=2, seed=0
        )
        print_replay(frame, console := narrow(), n_orders=2, n_workers=2)
        assert f"\n{LONG} " in text_of(console)

    def test_in_an_evaluation(self) -> None:
        print_evaluated(evaluated(), console := narrow())
        assert f"\n{LONG} " in text_of(console)
        assert "cut at the bounds" not in text_of(console)

    def test_intervals_of_measurements_end_at_bounds(self) -> None:
        rows = evaluated().evaluations.query("metric == 'm0'").assign(metric="auroc", value=[0.2, 0.9])
        print_evaluated(evaluated(evaluations=rows), console := narrow())
        assert "Intervals are cut at the bounds of their metric" in text_of(console)


def evaluated(**changes: Any) -> Any:
    """Results of 12 metrics of one axis, which do not fit into 80 columns."""
    trials = pd.DataFrame({"trial": ["a", "b"], "arm": LONG, "phase": "confirm", "search": 0})
    rows = [
        {"trial": trial, "axis": "ood", "split": "test", "setting": MARKUP, "metric": f"m{n}", "value": 0.5, "n": 10}
        for trial in "ab"
        for n in range(12)
    ]
    failures = pd.DataFrame([], columns=["axis", "trial", "why"])
    results = {"trials": trials, "axes": {"ood": SimpleNamespace(headline=())}, "evaluations": pd.DataFrame(rows)}
    return SimpleNamespace(**(results | {"failures": failures, "pictures": []} | changes))


class TestTextOfUsers:
    """Square brackets and emoji codes are printed as they are."""

    def test_in_lines_and_warnings(self) -> None:
        display = TerminalDisplay(console := narrow())
        display.show_line(MARKUP)
        display.show_warning(MARKUP)
        assert text_of(console) == f"{MARKUP}\n{MARKUP}\n"

    def test_in_progress_and_waits(self) -> None:
        console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
        display = TerminalDisplay(console)
        with display.show_status(MARKUP):
            pass
        with display.show_measurements(2) as update:
            update(MARKUP)
        assert text_of(console).count("[bold]what[/b]") >= 2

    def test_in_a_study(self, study_of: MakeStudy) -> None:
        study = study_of(question=MARKUP, why_open=MARKUP)
        print_study(study, console := narrow())
        assert text_of(console).count(MARKUP) == 2
        print_studies({"mine": study}, console := narrow())
        assert MARKUP in text_of(console)

    def test_in_a_reason(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        curve = lambda job, epoch: {"failed": MARKUP}  # noqa: E731
        simulate(study_of(question=MARKUP), tmp_path, curve=curve).run()
        console = narrow()
        assert print_status(tmp_path, console) == NO_RESULT_CODE
        assert f": {MARKUP}\n" in text_of(console)
        assert f"failed: off-0000 (trial): {MARKUP}\n" in text_of(console)
        print_why(tmp_path, "off-0000", console := narrow())
        assert MARKUP in text_of(console)

    def test_in_an_evaluation(self) -> None:
        failures = pd.DataFrame([{"axis": "ood", "trial": "a", "why": f'  File "a.py", line 1\n{MARKUP}'}])
        results = evaluated(failures=failures, pictures=[Path("[red]/a.png")])
        console = Console(file=io.StringIO(), width=400)
        assert print_evaluated(results, console) == 1
        text = text_of(console)
        assert f"failed: ood of a: {MARKUP}\n" in text
        assert "[red]/a.png" in text
        assert text.count(f"{MARKUP} m") == 12

    def test_in_checks(self) -> None:
        checks = [Check("data", WRONG, MARKUP, "give [another]"), Check("disk", OK, "fine")]
        print_checks(checks, console := narrow())
        assert MARKUP in text_of(console)
        assert "give [another]" in text_of(console)


class TestSeveralSearches:
    @pytest.fixture
    def shown(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> str:
        """Status of a sweep with three searches per arm, of which one has no completed trial, in a terminal."""

        def curve(job: Job, epoch: int) -> dict[str, Any]:
            lost = job.trial in {"cutout-0001", "cutout-0004"}  # both trials of the second search
            return {"failed": "no"} if lost else {"val_top1_error": 0.02 * (1 + job.config.seed % 7)}

        study = study_of(confirm={"searches": 3, "seeds": 2}, budget={"trials": 6, "max_epochs": 2})
        simulate(study, tmp_path, curve=curve).run()
        console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
        print_status(tmp_path, console)
        return text_of(console)

    def test_per_arm_and_per_search(self, shown: str, tmp_path: Path) -> None:
        lines = [line.rstrip() for line in shown.splitlines()]
        cells = [line.split() for line in lines]
        assert [row[:2] for row in cells if row[:1] in (["off"], ["cutout"], ["cutmix"])][3:6] == [
            *(["off", "3"], ["cutout", "2"], ["cutmix", "3"])
        ]
        assert "n: independent searches of 2 trials each;" in shown
        assert "Differences are paired by search." in shown
        winners = search_winners(read_sweep(tmp_path), read_sweep(tmp_path, CONFIRM))
        start = next(place for place, line in enumerate(lines) if "error of the winner" in line)
        errors = {arm: [f"{100 * error:.2f}" for error in rows["top1_error"]] for arm, rows in winners.groupby("arm")}
        errors["cutout"].insert(1, "-")
        assert cells[start + 2 : start + 5] == [[arm, *errors[arm]] for arm in ("off", "cutout", "cutmix")]
        assert "In the order of the searches, 0 to 2; -: not measured." in lines
        assert "Searches that are left out, because no confirmation trial has completed: cutout 1." in lines

    def test_tables_fit_80_columns_and_intervals_stay_in_range(self, shown: str) -> None:
        tables = [line for line in shown.splitlines() if line.startswith("─")]
        assert len(tables) == 3
        assert max(map(len, tables)) <= 80
        assert "with so few searches the spread is hardly known" in shown
        bounds = re.findall(r"(-?[\d.]+) \.\. (-?[\d.]+)", shown)
        assert len(bounds) == 3
        assert all(0 <= float(low) <= float(high) <= 100 for low, high in bounds)


class TestColumns:
    def test_a_status_that_no_trial_has_is_left_out(self, sweep_dir: Path) -> None:
        print_status(sweep_dir, console := narrow())
        header = next(line for line in text_of(console).splitlines() if line.startswith("arm"))
        assert "done" in header
        assert not {"run", "wait", "stop", "div", "fail"} & set(header.split())

    def test_a_narrow_terminal_lacks_some(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        name = "a_mask_with_a_name_of_30_chars"
        simulate(study_of(arms={"off": {"mix": "off"}, name: {"mix": "cutmix"}}), tmp_path).run()
        console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
        print_status(tmp_path, console)
        table = [line for line in text_of(console).splitlines() if line.startswith(("arm ", "off ", f"{name} "))]
        assert max(map(len, table)) <= 60
        assert table[0].split() == ["arm", "done", "stop", "error", "median"]
        print_status(tmp_path, console := Console(file=io.StringIO(), width=60))
        assert "ECE" in text_of(console)  # a file has all columns

    def test_nothing_to_fix_leaves_no_column(self) -> None:
        print_checks([Check("disk", OK, "fine")], console := narrow())
        assert "fix" not in text_of(console)


class TestWords:
    def test_a_policy_is_described(self, study: Study) -> None:
        print_study(study, console := Console(file=io.StringIO(), width=200))
        assert "{" not in text_of(console)
        assert "ellipse" in text_of(console)

    def test_changes_of_images_are_named_by_arm_or_once_for_all_arms(self) -> None:
        trivial, lines = "{augment: {policy: {kind: trivial_augment}}}", {}
        for place in ("arms.cutmix.base", "base"):
            study = load_study("quickstart", settings=[f"{place}={trivial}"])
            print_study(study, console := Console(file=io.StringIO(), width=200))
            lines[place] = text_of(console).splitlines()
        (row,) = (line for line in lines["arms.cutmix.base"] if line.startswith("cutmix "))
        assert row.split()[1:3] == ["trivial_augment", "cutmix"]
        assert "Augment, in every arm: trivial_augment." in lines["base"]

    def test_a_strength_that_varies_shows_no_value(self) -> None:
        magnitude = "augment.policy.magnitude: {kind: integers, lo: 1, hi: 14}"
        arm = f"{{mix: cutmix, base: {{augment: {{policy: {{kind: rand_augment}}}}}}, space: {{{magnitude}}}}}"
        study = load_study("quickstart", settings=[f"arms.cutmix={arm}"])
        print_study(study, console := Console(file=io.StringIO(), width=200))
        (row,) = (line for line in text_of(console).splitlines() if line.startswith("cutmix "))
        assert "rand_augment, n_ops 2  " in row

    def test_a_policy_that_varies_shows_no_sampled_value(self) -> None:
        study = load_study("position")
        print_study(study, console := Console(file=io.StringIO(), width=200))
        (row,) = (line for line in text_of(console).splitlines() if line.startswith("inside "))
        mixing, varies = row.split("mix.size.alpha")
        assert "0.3" not in mixing
        assert varies.strip() == "0.3 | 1.0 | 3.0"

    def test_the_baseline_is_named(self, sweep_dir: Path) -> None:
        print_status(sweep_dir, console := narrow())
        assert "\nBaseline: off. " in text_of(console)

    def test_training_time_of_an_interrupted_sweep(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        simulate(study_of(), tmp_path).run(3).conductor.flush(force=True)
        print_status(tmp_path, console := narrow())
        assert "Training time: 6 s in 2 trials. " in text_of(console)
        left = "interrupted, 12 of 12 trials are left; resume with"
        assert f"\n{left}: cutmix-sweep resume {tmp_path}\n" in text_of(console)

    def test_a_sweep_is_unfinished_until_its_last_confirmation(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        """Killed between the end of the search and the first confirmation: no trial runs, and none is missing."""
        study = study_of(confirm={"searches": 1, "seeds": 2})
        session = simulate(study, tmp_path, n_workers=1)
        while session.conductor.n_left > 3 * 2:
            session.run(1)
        session.conductor.flush(force=True)
        print_status(tmp_path, console := narrow())
        assert f"6 of {12 + 6} trials are left; resume with: cutmix-sweep resume {tmp_path}\n" in text_of(console)
        assert "So far, the trials of" in text_of(console)
        ended = "So far: 12 of 18 trials have ended. 6 trials are left: 6 of the confirmation."
        resume = f"The sweep was interrupted; resume with: cutmix-sweep resume {tmp_path}"
        assert describe_unfinished(tmp_path) == f"{ended} {resume}"
        with locked(tmp_path):
            assert describe_unfinished(tmp_path).startswith(f"{ended} The sweep is running: process {os.getpid()} on ")
        while session.conductor.n_left > 1:
            session.run(1)
        session.conductor.flush(force=True)
        assert read_status(tmp_path).verdict.startswith("Confirmed so far on fresh seeds (")
        simulate(study, tmp_path).run()
        print_status(tmp_path, console := narrow())
        assert "trials are left" not in text_of(console)
        assert not describe_unfinished(tmp_path)

    def test_arms_without_a_completed_trial(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(confirm={"searches": 1, "seeds": 2}, base={"optimizer": {"lr": 1e6}}, space={})

        def diverging(job: Job, epoch: int) -> dict[str, Any]:
            return {"train_loss": math.nan if job.trial.startswith(hot) else 1.0}

        hot = "cutmix"
        simulate(study, tmp_path / "one", curve=diverging).run()
        assert print_status(tmp_path / "one", console := narrow()) == NO_RESULT_CODE
        line = "cutmix: the search is over and no trial completed (4 diverged); 2 confirmation trials are left out"
        assert f"\n{line}\n" in text_of(console)
        assert "lower optimizer.lr" not in text_of(console)
        hot = ""
        simulate(study, tmp_path / "all", curve=diverging).run()
        assert print_status(tmp_path / "all", console := narrow()) == NO_RESULT_CODE
        assert text_of(console).count("; 2 confirmation trials are left out") == 3
        assert "\nlower optimizer.lr in a new sweep: it was 1e+06 in the diverged trials\n" in text_of(console)
        assert "\nAll 12 trials diverged; there is no result to compare.\n" in text_of(console)

    def test_fewer_winners_than_planned(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(confirm={"searches": 1, "seeds": 2, "configs": 2}, budget={"trials": 2, "max_epochs": 1})
        curve = lambda job, epoch: {"failed": "no", "fault": "memory"} if job.trial == "off-0001" else {}  # noqa: E731
        simulate(study, tmp_path, curve=curve).run()
        assert print_status(tmp_path, console := narrow()) == FAILED_CODE
        assert "\nfailed: off-0001 (memory): no\n" in text_of(console)
        assert "\noff: too few search trials completed; 2 confirmation trials are left out\n" in text_of(console)
        assert describe_unfinished(tmp_path) == (
            "Confirmation trials that are left out, because too few search trials completed: 2 of off."
        )

    def test_intervals_of_an_error_stay_between_0_and_100(
        self, simulate: Any, study_of: MakeStudy, tmp_path: Path
    ) -> None:
        study = study_of(confirm={"searches": 1, "seeds": 2})
        errors = {"00": 0.2, "01": 0.7}
        simulate(study, tmp_path, curve=lambda job, epoch: {"val_top1_error": errors.get(job.trial[-2:], 0.5)}).run()
        print_status(tmp_path, console := narrow())
        text = text_of(console)
        assert "Intervals are cut at 0 and 100 %" in text
        bounds = re.findall(r"(-?[\d.]+) \.\. (-?[\d.]+)", text)
        assert bounds
        assert all(0 <= float(low) <= float(high) <= 100 for low, high in bounds)

    def test_a_budget(self, study_of: MakeStudy) -> None:
        stopping = {"rule": "asha", "grace_period_epochs": 2}
        budget = {"trials": 8, "max_epochs": 9, "early_stopping": stopping, "control_frac": 0.25}
        lines = describe_budget(study_of(budget=budget, confirm={"configs": 2, "searches": 1, "seeds": 3})).splitlines()
        assert lines[0].startswith("Budget: random search, 8 trials per arm, at most 9 epochs per trial")
        assert lines[1].startswith("Stopping: ")
        assert "first rung at 2 epochs" in lines[1]
        assert "control cohort: 25 % of the trials" in lines[1]
        assert "1 search of 8 trials per arm; the 2 best configurations of each arm are trained again" in lines[2]
        assert "on 3 fresh seeds and measured on test images" in lines[2]

    def test_a_confirmation_of_several_searches_or_of_none(self, study_of: MakeStudy) -> None:
        budget = {"trials": 8, "max_epochs": 9}
        several = describe_budget(study_of(budget=budget, confirm={"searches": 4})).splitlines()
        assert several[1].endswith("Trials are compared within their search, by val_nll.")
        assert several[2] == (
            "Confirmation: 4 searches of 2 trials per arm; the best configuration of each search is trained again on "
            "1 fresh seed and measured on test images."
        )
        sampled = describe_budget(study_of(budget=budget, search="tpe", confirm={"searches": 4})).splitlines()
        assert sampled[2].startswith("Sampler: tpe draws the first 5 trials of each search at random")
        nothing_varies = study_of(budget=budget, space={}, arms={"off": {}, "cutout": {"mix": "cutout"}}, confirm={})
        assert describe_budget(nothing_varies).splitlines()[2] == (
            "Confirmation: each arm is trained again on 5 fresh seeds and measured on test images."
        )
