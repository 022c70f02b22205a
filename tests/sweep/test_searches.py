"""Several searches per arm: each is what it would be alone, and each confirms its own winner."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.discover import built_in_studies, load_study
from search_spaces.early_stopping.base import Rule
from search_spaces.extension import confirmed, extended
from search_spaces.study import Study
from sweep.findings import searches
from sweep.records.reader import SweepRecords, read_rows, read_sweep
from sweep.records.schema import EPOCHS, EVALUATIONS
from trainables.errors import UserError

pytestmark = pytest.mark.usefixtures("one_reader")

MakeStudy = Callable[..., Study]

SEARCHES = {"searches": 3, "seeds": 2}
ASHA = {"rule": "asha", "grace_period_epochs": 1, "reduction_factor": 2, "min_recorded": 2}
BUDGET = {"trials": 12, "max_epochs": 5, "early_stopping": ASHA}
LATE = ASHA | {"min_recorded": 3}
POINTS = [{"optimizer.lr": lr} for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
GROWTH = [{"configurations": 6, "searches": 3}]
FULL = {"trials": 12, "max_epochs": 5}


@pytest.fixture
def study(study_of: MakeStudy) -> Study:
    return study_of(budget=BUDGET, confirm=SEARCHES)


def test_a_recorded_study_says_the_same_as_the_study() -> None:
    """Records are read without the study's own parts, so what they say is computed from the manifest."""
    for study in map(load_study, built_in_studies()):
        recorded = study.model_dump(mode="json")
        assert searches.n_searches(recorded) == study.n_searches
        assert searches.trials_per_search(recorded) == study.trials_per_search
        for arm in study.arms:
            assert searches.is_searched(recorded, arm) == study.is_searched(arm)


class TestPlaces:
    @given(
        start=st.tuples(st.integers(1, 5), st.integers(1, 4)),
        steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=4),
        search=st.sampled_from(["random", "quasi_random"]),
    )
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_searches_have_equal_size_and_an_extension_moves_no_trial(
        self, study_of: MakeStudy, start: tuple[int, int], steps: list[tuple[int, int]], search: str
    ) -> None:
        searches, trials = start
        budget = {"trials": searches * trials, "max_epochs": 5, "control_frac": 0.4}
        study = study_of(search=search, budget=budget, confirm={"searches": searches, "seeds": 2})
        for more_trials, more_searches in steps:
            before, facts = study, trials_of(study)
            if more_trials or more_searches:
                study = extended(study, trials=more_trials, searches=more_searches)
            assert trials_of(study)[: len(facts)] == facts
            assert study.n_searches == before.n_searches + more_searches
            assert study.trials_per_search == before.trials_per_search + more_trials
        places = sorted((search, index) for search, index, *_ in trials_of(study))
        assert places == [(s, i) for s in range(study.n_searches) for i in range(study.trials_per_search)]

    def test_replicates_stay_in_one_search(self, study_of: MakeStudy) -> None:
        study = study_of(budget=FULL, replicates=2, confirm=SEARCHES)
        assert [study.search_of("off", number) for number in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
        assert [study.index_in_search("off", number) for number in range(8)] == [0, 1, 0, 1, 0, 1, 2, 3]

    def test_each_search_of_a_grid_runs_the_whole_grid(self, study_of: MakeStudy) -> None:
        space = {"optimizer.lr": {"kind": "choice", "values": [0.1, 0.2]}}
        arms = {
            "off": {"mix": "off"},
            "cutout": {"mix": "cutout", "space": {"mix.size.frac": {"kind": "choice", "values": [0.2, 0.4]}}},
        }
        study = study_of(
            search="grid", replicates=3, space=space, arms=arms, budget={"max_epochs": 5}, confirm=SEARCHES
        )
        for arm in arms:
            for search in range(3):
                numbers = [n for n in range(study.trials_per_arm) if study.search_of(arm, n) == search]
                points = [str(study.draw(arm, number)) for number in numbers]
                assert len(points) == 4
                assert len(set(points)) == study.n_grid_points(arm)

    def test_quasi_random_points_fill_the_space_in_each_search(self, study_of: MakeStudy) -> None:
        space = {"optimizer.lr": {"kind": "uniform", "lo": 1.0, "hi": 2.0}}
        study = study_of(
            search="quasi_random", space=space, budget={"trials": 40, "max_epochs": 5}, confirm={"searches": 5}
        )
        for search in range(5):
            numbers = [number for number in range(40) if study.search_of("off", number) == search]
            # a van der Corput sequence of base 2: eight points lie in eight different eighths
            assert sorted(int(8 * (study.draw("off", n)["optimizer.lr"] - 1)) for n in numbers) == list(range(8))
        rates = {study.draw("off", number)["optimizer.lr"] for number in range(40)}
        assert len(rates) == 40  # each search has points of its own

    def test_each_search_tries_the_known_points(self, study_of: MakeStudy) -> None:
        study = study_of(points=[{"optimizer.lr": 0.3}], budget=FULL, confirm=SEARCHES)
        known = [number for number in range(12) if study.draw("off", number)["optimizer.lr"] == 0.3]
        assert known == [0, 1, 2]

    def test_each_search_has_its_part_of_the_control_cohort(self, study_of: MakeStudy) -> None:
        study = study_of(budget=BUDGET | {"control_frac": 0.25}, confirm=SEARCHES)
        control = [study.search_of("off", number) for number in range(12) if study.is_control("off", number)]
        assert sorted(control) == [0, 1, 2]


def trials_of(study: Study) -> list[tuple[Any, ...]]:
    """Return what a study says of each trial of an arm."""
    return [
        (
            study.search_of("cutmix", number),
            study.index_in_search("cutmix", number),
            study.is_control("cutmix", number),
            study.draw("cutmix", number),
            study.replicate("cutmix", number),
        )
        for number in range(study.trials_per_arm)
    ]


class TestDefaults:
    def test_five_searches_where_something_varies(self, study_of: MakeStudy) -> None:
        confirm = study_of(budget={"trials": 10, "max_epochs": 5}, confirm={}).confirm
        assert confirm
        assert (confirm.searches, confirm.seeds) == (5, 1)

    def test_five_seeds_where_nothing_does(self, study_of: MakeStudy) -> None:
        fixed = {"optimizer.lr": {"kind": "fixed", "value": 0.1}}
        confirm = study_of(space=fixed, arms={"off": {}}, budget=FULL, confirm={}).confirm
        assert confirm
        assert (confirm.searches, confirm.seeds) == (1, 5)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"confirm": {"searches": 1}}, "one search with one seed gives one value per arm"),
            (
                {"confirm": {"searches": 5}},
                "cannot be divided equally among the searches: use a multiple of 5, for exampl",
            ),
            ({"confirm": SEARCHES, "replicates": 3}, "with 3 replicates: use a multiple of 9, for example 9"),
            ({"confirm": SEARCHES, "space": {}, "arms": {"off": {}}}, "nothing varies in the arms"),
            ({"confirm": {"searches": 6}, "budget": BUDGET | {"early_stopping": LATE}}, "but a search has 2 trials"),
            ({"confirm": SEARCHES, "points": POINTS}, "need more than the 4 trials of a search"),
            ({"confirm": SEARCHES | {"configs": 5}}, "confirm.configs is 5, but a search has 4 trials"),
            (
                {"confirm": SEARCHES | {"growth": [{"configurations": 6, "searches": 3}]}},
                "leave it out of a study file",
            ),
        ],
    )
    def test_refusals(self, study_of: MakeStudy, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError) as refused:
            study_of(**{"budget": FULL} | changes)
        assert message in str(refused.value)


class TestConductor:
    def test_each_search_decides_and_confirms_alone(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        ended = simulate(study, tmp_path, n_workers=3).run()
        assert ended.conductor.n_left == 0
        search, confirm = read_sweep(tmp_path), read_sweep(tmp_path, "confirm")
        assert search.trials.groupby(["arm", "search"]).size().eq(4).all()
        assert decisions(search) == decisions_alone(search, study)
        final = search.epochs[search.epochs["epoch"] == 5].set_index("trial")["val_nll"]
        assert len(confirm.trials) == 3 * 3 * 2
        for (arm, number), rows in confirm.trials.groupby(["arm", "search"]):
            of_search = search.trials[(search.trials["arm"] == arm) & (search.trials["search"] == number)]
            best = final.reindex(of_search["trial"]).idxmin()
            assert set(rows["confirms"]) == {best}
            assert sorted(rows["number"]) == [0, 1]
            assert sorted(rows["replicate"]) == [1000 * number, 1000 * number + 1]

    def test_searches_are_paired_across_arms_by_their_seeds(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        simulate(study, tmp_path).run()
        confirm = read_sweep(tmp_path, "confirm").trials
        seeds = confirm.pivot(index=["search", "number"], columns="arm", values="seed")
        assert seeds.nunique(axis=1).eq(1).all()
        assert seeds["off"].is_unique
        assert not set(seeds["off"]) & set(read_sweep(tmp_path).trials["seed"])

    def test_a_search_without_a_completed_trial_has_no_winner(
        self, simulate: Any, study: Study, tmp_path: Path
    ) -> None:
        def curve(job: Any, epoch: int) -> dict[str, Any]:
            return {"failed": "bug"} if job.trial in {f"off-{n:04d}" for n in (1, 4, 7, 10)} else {"val_nll": 1.0}

        assert simulate(study, tmp_path, curve=curve).run().conductor.n_left == 0
        confirm = read_sweep(tmp_path, "confirm").trials
        assert confirm.groupby(["arm", "search"]).size().unstack(fill_value=0).loc["off"].tolist() == [2, 0, 2]

    def test_a_search_proposes_from_its_own_results(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(search="tpe", budget={"trials": 16, "max_epochs": 1}, confirm={"searches": 2})

        def spoiled(job: Any, epoch: int) -> dict[str, Any]:
            is_of_search_1 = not job.test and int(job.trial[-4:]) % 2 == 1
            return {"val_nll": random.Random(job.trial).random() + 9 * is_of_search_1}

        def plain(job: Any, epoch: int) -> dict[str, Any]:
            return {"val_nll": random.Random(job.trial).random()}

        for name, curve in (("plain", plain), ("spoiled", spoiled)):
            simulate(study, tmp_path / name, curve=curve, n_workers=1).run()
        ours, others = (read_sweep(tmp_path / name).trials for name in ("plain", "spoiled"))
        rates = [rows[rows["search"] == 0].set_index("trial")["params.optimizer.lr"] for rows in (ours, others)]
        assert rates[0].equals(rates[1])

    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(seed=st.integers(0, 10**6))
    def test_kills_change_nothing(
        self, seed: int, simulate: Any, study_of: MakeStudy, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        luck, folder = random.Random(seed), tmp_path_factory.mktemp("kills")
        stopping = ASHA | {"mode": luck.choice(["stop", "promote"])}
        arms = {"off": {}, "cutmix": {"mix": "cutmix"}}
        budget = {"trials": 6, "max_epochs": 3, "early_stopping": stopping}
        confirm = luck.choice([{"searches": 1, "seeds": 2}, {"searches": 2}])
        study = study_of(arms=arms, budget=budget, confirm=confirm, seed=seed)
        simulate(study, folder / "whole", n_workers=1).run()
        while (session := simulate(study, folder / "cut", n_workers=1)).conductor.n_left:
            session.run(luck.choice([0, 1, 4, 9, 16]))  # killed at its start, soon, or late
        for phase in ("search", "confirm"):
            whole, cut = (read_sweep(folder / name, phase) for name in ("whole", "cut"))
            columns = ["trial", "search", "confirms", "seed", "status", "epochs"]
            rows = [sorted(map(str, records.trials[columns].to_numpy().tolist())) for records in (whole, cut)]
            assert rows[0] == rows[1]
        for table in (EPOCHS, EVALUATIONS):
            written = [read_rows(folder / name, table).to_pandas() for name in ("whole", "cut")]
            assert not written[1].duplicated(list(table.key)).any()
            assert len(written[0]) == len(written[1])

    def test_added_searches_and_trials_repeat_nothing(self, simulate: Any, study: Study, tmp_path: Path) -> None:
        first = simulate(study, tmp_path).run()
        before = read_sweep(tmp_path, "confirm").trials
        more = extended(study, searches=1, trials=2)
        second = simulate(more, tmp_path).run()
        assert second.conductor.n_left == 0
        assert not {job.trial for job in first.jobs} & {job.trial for job in second.jobs}
        search, confirm = read_sweep(tmp_path), read_sweep(tmp_path, "confirm").trials
        assert search.trials.groupby(["arm", "search"]).size().tolist() == 3 * 4 * [6]
        assert decisions(search) == decisions_alone(search, more)
        assert set(before["trial"]) <= set(confirm["trial"])
        assert set(confirm["search"]) == {0, 1, 2, 3}


def decisions(records: SweepRecords) -> list[tuple[str, int, str]]:
    rows = records.decisions[["trial", "rung_epochs", "verdict"]]
    return sorted(rows.itertuples(index=False, name=None))


def decisions_alone(records: SweepRecords, study: Study) -> list[tuple[str, int, str]]:
    """Return the decisions of rules that know the trials of one search only, in the order of the reports."""
    rules: dict[tuple[str, int], Rule | None] = {}
    place = records.trials.set_index("trial")[["arm", "search"]]
    decided = []
    for row in records.epochs.to_dict("records"):
        search = tuple(place.loc[row["trial"]])
        rule = rules.setdefault(search, study.budget.early_stopping.build(study.budget.max_epochs))
        assert rule is not None
        number = int(row["trial"][-4:])
        if judged := rule.observe(number, row["epoch"], row[study.metric]):
            decided.append((row["trial"], row["epoch"], judged.verdict))
    return sorted(decided)


class TestConfirmedLater:
    def test_independent_trials_may_be_divided(self, simulate: Any, study_of: MakeStudy, tmp_path: Path) -> None:
        study = study_of(budget=FULL)
        simulate(study, tmp_path).run()
        later = confirmed(study, seeds=1, searches=4)
        simulate(later, tmp_path).run()
        confirm = read_sweep(tmp_path, "confirm").trials
        assert confirm.groupby(["arm", "search"]).size().tolist() == 3 * 4 * [1]
        assert (confirm["confirms"].str[-4:].astype(int) % 4 == confirm["search"]).all()
        trials = read_sweep(tmp_path).trials  # recorded as one search before
        assert (trials["number"] % 4 == trials["search"]).all()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"search": "tpe", "budget": FULL}, "does not draw independent trials"),
            ({"budget": BUDGET}, "early stopping compared the trials of the whole arm"),
            ({"budget": FULL, "points": [{"optimizer.lr": 0.3}]}, "all known points belong to the first search"),
            ({"budget": FULL, "confirm": SEARCHES}, "add searches with cutmix-sweep extend"),
            ({"budget": FULL, "confirm": {"searches": 1, "seeds": 2}}, "confirms 1 search per arm already"),
            ({"budget": FULL | {"trials": 10}}, "for example 8, or another number of searches"),
        ],
    )
    def test_others_may_not(self, study_of: MakeStudy, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            confirmed(study_of(**changes), seeds=2, searches=4)
