"""``--json``: one document on standard output, as its schema says, with the values of the records."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest

from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Study
from sweep.doctor import Check
from sweep.document_models import DOCUMENTS
from sweep.documents import evaluate_document
from sweep.endings import Joined
from sweep.evaluation.evaluate import Evaluated
from sweep.findings.summary import summarise_arms
from sweep.findings.trials import list_trials
from sweep.lock import locked
from sweep.manifest import with_run
from sweep.records.reader import read_manifest, read_sweep
from sweep.records.writer import write_manifest
from sweep.status import describe_unfinished

MakeStudy = Callable[..., Study]
Run = Callable[..., tuple[int, str, str]]


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def check(text: str, kind: str, run: Run) -> dict[str, Any]:
    """Return a document that is valid by the schema that the program prints for it."""
    document: dict[str, Any] = json.loads(text, parse_constant=no_constant)
    status, schema, _ = run("schema", kind)
    assert status == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(schema))
    jsonschema.validate(document, json.loads(schema), cls=jsonschema.Draft202012Validator)
    assert (document["kind"], document["schema_version"]) == (kind, 2)
    return document


def curve(job: Any, epoch: int) -> dict[str, Any]:
    if job.trial == "off-0001":
        return {"failed": "Traceback ...\nRuntimeError: no"}
    if job.trial == "cutmix-0001":
        return {"train_loss": math.nan, "val_nll": math.nan}
    return {"val_nll": 1 / 3 + int(job.trial[-1]), "val_top1_error": 1 / 3 + epoch / 100}


@pytest.fixture
def session(simulate: Any, study_of: MakeStudy, tmp_path: Path) -> Any:
    return simulate(study_of(confirm={"searches": 2, "seeds": 2}), tmp_path / "a sweep", curve=curve)


class TestStatus:
    def test_of_an_ended_sweep(self, session: Any, run: Run) -> None:
        session.run()
        status, out, err = run("status", session.sweep_dir, "--json")
        assert (status, err) == (0, "")
        document = check(out, "status", run)
        assert (document["state"], document["resume_command"], document["driver"]) == ("ended", None, None)
        assert (document["exit_code"], document["dropped_confirmations"]) == (1, {})
        assert document["n_ended"] == document["n_trials"] == len(session.conductor.entries)
        assert document["failures"][0] == {
            "trial": "off-0001",
            "status": "failed",
            "fault": "trial",
            "why": "Traceback ...\nRuntimeError: no",
        }
        records = read_sweep(session.sweep_dir)
        summary = summarise_arms(records.trials, records.epochs).set_index("arm")
        assert [arm["arm"] for arm in document["arms"]] == ["off", "cutout", "cutmix"]
        for arm in document["arms"]:
            row = summary.loc[arm["arm"]]
            assert (arm["best_val_top1_error"], arm["best_trial"]) == (row["best"], row["best_trial"])
            assert sum(arm["n_by_status"].values()) == arm["n_trials"] == 4
        assert {row["arm"] for row in document["confirmed"]} == {"off", "cutout", "cutmix"}
        assert document["confirmed"][0]["difference"] is None  # of the baseline to itself
        assert document["n_searches"] == 2
        assert {(row["unit"], row["n"], row["n_seeds"]) for row in document["confirmed"]} == {("search", 2, 4)}
        assert {(row["arm"], row["search"], row["rank"]) for row in document["winners"]} == {
            (arm, search, 1) for arm in ("off", "cutout", "cutmix") for search in range(2)
        }
        for row in document["confirmed"]:
            of_arm = [winner for winner in document["winners"] if winner["arm"] == row["arm"]]
            assert row["winners"] == [winner["winner"] for winner in of_arm]
            assert row["top1_error"] == pytest.approx(sum(winner["top1_error"] for winner in of_arm) / 2)

    def test_resumes_on_the_cluster_of_the_last_run(self, session: Any, run: Run) -> None:
        session.run(4).conductor.flush(force=True)
        joined = Joined("10.0.0.5:6379", insecure=True, max_trials=4)
        write_manifest(session.sweep_dir, with_run(read_manifest(session.sweep_dir), "again", joined=joined))
        command = f"cutmix-sweep resume '{session.sweep_dir}' --address 10.0.0.5:6379 --insecure --max-trials 4"
        assert check(run("status", session.sweep_dir, "--json")[1], "status", run)["resume_command"] == command
        assert command in run("status", session.sweep_dir)[1].replace("\n", " ")
        assert command in describe_unfinished(session.sweep_dir)

    def test_at_every_instant(self, session: Any, run: Run) -> None:
        session.conductor.flush(force=True)
        for _ in range(4):
            document = check(run("status", session.sweep_dir, "--json")[1], "status", run)
            assert document["state"] == "interrupted"
            assert document["resume_command"] == f"cutmix-sweep resume '{session.sweep_dir}'"
            session.run(4).conductor.flush(force=True)
        with locked(session.sweep_dir) as lock:
            document = check(run("status", session.sweep_dir, "--json")[1], "status", run)
            assert (document["state"], document["driver"]["process"]) == ("running", os.getpid())
            assert (document["driver"]["stalled"], document["exit_code"]) == (None, None)
            lock.news_at_s, lock.stall_after_s = time.monotonic() - 90, 60.0
            lock._beat()
            document = check(run("status", session.sweep_dir, "--json")[1], "status", run)
            assert document["driver"]["stalled"].startswith("no epoch has ended for 1 min ")
            out = run("status", session.sweep_dir)[1]
            assert f"running: process {os.getpid()} on " in out
            assert "\nstalled: no epoch has ended for 1 min " in out

    def test_of_a_sweep_whose_rule_is_gone(self, session: Any, run: Run) -> None:
        """The records are shown without it, in text and as a document."""
        session.run(4).conductor.flush(force=True)
        manifest = read_manifest(session.sweep_dir)
        manifest["study"]["budget"]["early_stopping"]["rule"] = "gone_package.rules:Rule"
        write_manifest(session.sweep_dir, {**manifest, "runs": []})
        document = check(run("status", session.sweep_dir, "--json")[1], "status", run)
        assert "there is no module 'gone_package'" in document["problem"]
        assert (document["state"], document["n_trials"]) == ("interrupted", len(session.conductor.entries))
        status, out, err = run("status", session.sweep_dir)
        assert (status, err) == (0, "")
        assert "the number of trials left is not known" in out
        assert " ".join(document["verdict"].split()) in " ".join(out.split())
        assert run("trials", session.sweep_dir)[0] == run("trials", session.sweep_dir, "--json")[0] == 0

    def test_has_the_verdict_of_the_text(self, simulate: Any, study_of: MakeStudy, tmp_path: Path, run: Run) -> None:
        """Also between the search and the confirmation, when every recorded trial has ended."""
        session = simulate(study_of(confirm={"searches": 1, "seeds": 2}), tmp_path, n_workers=1)
        while session.conductor.n_left > 6:
            session.run(1)
        session.conductor.flush(force=True)
        document = check(run("status", session.sweep_dir, "--json")[1], "status", run)
        assert document["verdict"].startswith("So far")
        assert document["verdict"] in " ".join(run("status", session.sweep_dir)[1].split())

    def test_of_no_sweep_is_refused_in_plain_text(self, run: Run, tmp_path: Path) -> None:
        status, out, err = run("status", tmp_path, "--json")
        assert (status, out) == (2, "")
        assert err.startswith("error: no sweep in")


class TestTrials:
    def test_has_all_columns_unrounded(self, session: Any, run: Run) -> None:
        session.run()
        status, out, err = run("trials", session.sweep_dir, "--json", "--sort", "-val_nll")
        assert (status, err) == (0, "")
        document = check(out, "trials", run)
        frame = list_trials(session.sweep_dir, sort="-val_nll")
        assert (document["sorted_by"], document["columns"]) == ("-val_nll", list(frame.columns))
        assert [row["trial"] for row in document["trials"]] == frame["trial"].tolist()
        for name in ("val_nll", "optimizer.lr", "mix.apply.prob", "resumed_at_epoch"):
            values = [None if value != value else value for value in frame[name]]
            assert [row[name] for row in document["trials"]] == values

    def test_is_filtered_and_cut(self, session: Any, run: Run) -> None:
        session.run()
        options = ["--arm", "off, cutout", "--state", "stopped,completed", "--top", 3, "--columns", "trial,arm"]
        document = check(run("trials", session.sweep_dir, "--json", *options)[1], "trials", run)
        frame = list_trials(session.sweep_dir, arm=["off", "cutout"], state=["stopped", "completed"], top=3)
        assert document["trials"] == frame[["trial", "arm"]].to_dict("records")


class TestPlan:
    def test_has_dose_size_and_seeds(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 1000 / 3)
        status, out, err = run("plan", "quickstart", "--scale", "smoke", "--effect", 0.5, "--sd", 1, "--json")
        assert (status, err) == (0, "")
        document = check(out, "plan", run)
        study = load_study("quickstart", scale="smoke")
        assert document["n_search_trials"] == len(study.arms) * study.trials_per_arm
        assert document["images_per_s"] == {"min": 1000 / 3, "max": 1000 / 3}
        assert [network["name"] for network in document["networks"]] == ["tiny"]
        doses = {arm["arm"]: arm["dose"] for arm in document["arms"]}
        assert doses["off"]["dose_exposure"] == 0
        assert doses["cutmix"]["dose_exposure"] > 0
        assert (document["power"]["unit"], document["power"]["n_units"]) == ("search", 2)
        assert document["power"]["units_needed"] > 2
        assert 0 < document["power"]["power"] < 1

    def test_without_an_effect(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sweep.plan.measure_speed", lambda *_, **__: 500.0)
        power = check(run("plan", "quickstart", "--json")[1], "plan", run)["power"]
        assert (power["effect_points"], power["units_needed"], power["power"]) == (None, None, None)
        assert power["detectable_points"]["min"] > 0
        assert "5 searches per arm" in power["text"]


class TestStudies:
    def test_lists_all(self, run: Run) -> None:
        document = check(run("studies", "--json")[1], "studies", run)
        assert [study["name"] for study in document["studies"]] == built_in_studies()

    def test_one_has_its_scales(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            "question: How long?\narms: {off: {}}\nsearch: grid\nbudget: {max_epochs: 25}\n"
            "space: {optimizer.max_epochs: {kind: choice, values: [3, 25]}}\n"
        )
        (study,) = check(run("studies", path, "--json")[1], "studies", run)["studies"]
        assert study["arms"][0]["varies"]["optimizer.max_epochs"]["values"] == [3, 25]
        scales = {scale["scale"]: scale for scale in study["scales"]}
        assert scales["laptop"]["error"] is None
        assert "the space varies 'optimizer.max_epochs'" in scales["gpu"]["error"]
        assert scales["gpu"]["n_search_trials"] is None


@pytest.mark.parametrize(("state", "code"), [("warning", 0), ("wrong", 1)])
def test_doctor_has_the_exit_code_of_its_text(run: Run, monkeypatch: pytest.MonkeyPatch, state: str, code: int) -> None:
    monkeypatch.setattr(
        "sweep.doctor.diagnose", lambda *_, **__: [Check("GPU", "ok", "none"), Check("disk", state, "1", "fix")]
    )
    status, out, err = run("doctor", "--json")
    assert (status, err) == (code, "")
    document = check(out, "doctor", run)
    assert (document["ok"], document["checks"][1]["fix"]) == (not code, "fix")


def test_evaluate(run: Run, tmp_path: Path) -> None:
    trials = pd.DataFrame({"trial": ["off-0000-confirm-00", "off-0000-confirm-01"], "arm": "off"})
    trials = trials.assign(phase="confirm", search=0)
    value = {"axis": "ood", "split": "test", "setting": "svhn", "metric": "auroc", "n": 50, "library": "x", "seed": 0}
    values = pd.DataFrame([{"trial": trial, "value": 1 / 3, **value} for trial in trials["trial"]])
    values.loc[1, "value"] = math.nan
    failures = pd.DataFrame({"trial": ["off-0000-confirm-01"], "axis": ["pgd"], "why": ["no"]})
    evaluated = Evaluated(trials, {"ood": None, "pgd": None}, values, failures, [tmp_path / "a.png"])  # type: ignore[dict-item]
    document = check(json.dumps(evaluate_document(tmp_path, evaluated)), "evaluate", run)
    assert [row["value"] for row in document["values"]] == [1 / 3, None]
    assert document["means"][0] | {"mean": 1 / 3, "low": None, "seeds": 1} == document["means"][0]
    assert document["failures"] == [{"trial": "off-0000-confirm-01", "axis": "pgd", "why": "no"}]
    assert document["pictures"] == [str(tmp_path / "a.png")]


def test_evaluate_prints_it_with_the_same_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trials = pd.DataFrame({"trial": ["off-0000"], "arm": ["off"], "phase": ["search"], "search": [0]})
    columns = ["trial", "axis", "split", "setting", "metric", "value", "n"]
    failures = pd.DataFrame({"trial": ["off-0000"], "axis": ["pgd"], "why": ["no"]})

    def evaluate(*_: Any, display: Any, **__: Any) -> Evaluated:
        display.show_line("ood is not measured: no images")
        return Evaluated(trials, {}, pd.DataFrame(columns=columns), failures, [])

    monkeypatch.setattr("sweep.evaluation.evaluate.evaluate_sweep", evaluate)
    status, out, err = run("evaluate", tmp_path, "--json")
    assert (status, err) == (1, "ood is not measured: no images\n")
    assert check(out, "evaluate", run)["failures"][0]["why"] == "no"


def test_every_kind_is_documented(run: Run) -> None:
    status, _, err = run("schema", "statu")
    assert status == 2
    assert all(kind in err for kind in ("did you mean 'status'?", *DOCUMENTS))
    readme = (Path(__file__).parents[2] / "sweep" / "README.md").read_text()
    assert all(f"`{kind}`" in readme for kind in DOCUMENTS)
