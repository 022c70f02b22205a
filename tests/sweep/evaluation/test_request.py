"""What is measured, and what is refused before anything is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from search_spaces.extension import extended
from search_spaces.resources import Resources
from search_spaces.study import Study
from sweep import engine
from sweep.conductor import Job
from sweep.display import SilentDisplay
from sweep.evaluation import request, run
from sweep.evaluation.evaluate import evaluate_sweep
from sweep.evaluation.request import applicable_axes, list_tasks, select_axes, select_trials
from sweep.ledger import weights_path
from sweep.manifest import read_study, with_run, with_study
from sweep.models import load_trial
from sweep.nodes import Nodes
from sweep.records.errors import RecordsError
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import COMPLETED, EVALUATIONS, FAILED, MEASUREMENTS, TRIALS
from sweep.records.writer import RecordsWriter, write_manifest
from sweep.slots import LiveNode, Slots
from tests.slots import fixed_slots
from trainables.errors import UserError
from trainables.evaluation.base import Axis, Measured
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.intact import DamagedFile
from trainables.parts import Registry
from trainables.saved_state import write_state


class Quick(Axis):
    name: ClassVar[str] = "quick"
    source: str = "digits"

    def measure(self, subject: Subject) -> Measured:
        return Measured(())


class Boxed(Axis):
    name: ClassVar[str] = "boxed"

    def check(self, about: ModelInfo) -> None:
        if not about.has_boxes or len(about.classes) < 11:
            raise UserError("boxed: data without boxes; take tiny-imagenet")

    def measure(self, subject: Subject) -> Measured:
        return Measured(())


class Slow(Quick):
    name: ClassVar[str] = "slow"
    on_request: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def _axes(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, type[Axis]] = {"quick": Quick, "boxed": Boxed, "slow": Slow}
    monkeypatch.setattr(request, "AXES", Registry("evaluation axis", Axis, kinds, group="cutmix_sweep.axes"))


@pytest.fixture
def sweep_dir(tmp_path: Path, simulate: Any, study_of: Callable[..., Study]) -> Path:
    """A sweep with one confirmed configuration an arm on two seeds, whose models are empty files."""
    arms = {"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}}
    budget = {"trials": 2, "max_epochs": 2, "early_stopping": {"rule": "none"}}
    sweep_dir = tmp_path / "sweep"
    simulation = simulate(
        study_of(arms=arms, budget=budget, confirm={"configs": 1, "searches": 1, "seeds": 2}), sweep_dir
    ).run()
    for trial in simulation.conductor.entries:
        weights_path(sweep_dir, trial).parent.mkdir(exist_ok=True)
        weights_path(sweep_dir, trial).touch()
    return sweep_dir


class Lines(SilentDisplay):
    """Keeps the lines that are shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show_line(self, text: str) -> None:
        self.lines.append(text)


class Warnings(Lines):
    """Keeps the warnings only."""

    def show_line(self, text: str) -> None:
        """Keep nothing."""

    def show_warning(self, text: str) -> None:
        self.lines.append(text)


def test_trials_are_those_confirmed(sweep_dir: Path) -> None:
    chosen = select_trials(sweep_dir, None)
    assert chosen["arm"].tolist() == ["off", "off", "cutmix", "cutmix"]
    assert (chosen["phase"] == "confirm").all()


def test_former_winners_are_not_measured(sweep_dir: Path, simulate: Any) -> None:
    """After more trials another configuration leads; the confirmation of the former one stays in the records."""
    study = extended(read_study(read_manifest(sweep_dir), sweep_dir), trials=1)
    write_manifest(sweep_dir, with_run(with_study(read_manifest(sweep_dir), study), "extend"))

    def better(job: Job, epoch: int) -> dict[str, Any]:
        return {"val_nll": 0.01, "val_top1_error": 0.01}

    simulate(study, sweep_dir, curve=better).run()
    chosen = select_trials(sweep_dir, None)
    assert set(chosen["confirms"]) == {"off-0002", "cutmix-0002"}
    assert set(chosen["rank"]) == {1}
    assert len(read_table(sweep_dir, TRIALS).query("phase == 'confirm'")) == 8


def test_named_trials_of_the_search_may_be_measured(sweep_dir: Path) -> None:
    assert select_trials(sweep_dir, ["off-0001"])["phase"].tolist() == ["search"]
    assert set(select_trials(sweep_dir, ["search"])["trial"]) == {
        *("off-0000", "off-0001", "cutmix-0000", "cutmix-0001")
    }


def test_without_a_confirmation_trials_must_be_named(
    tmp_path: Path, simulate: Any, study_of: Callable[..., Study]
) -> None:
    simulate(study_of(), tmp_path / "sweep").run()
    with pytest.raises(UserError, match=r"no trial .* is confirmed: .*cutmix-sweep confirm .*--trials search"):
        select_trials(tmp_path / "sweep", None)


def test_unknown_trials_and_those_without_a_model_are_refused(sweep_dir: Path) -> None:
    with pytest.raises(UserError, match="no trial 'off-0009'; did you mean 'off-000"):
        select_trials(sweep_dir, ["off-0009"])
    weights_path(sweep_dir, "off-0001").unlink()
    with pytest.raises(UserError, match="'off-0001' has no model file: its status is 'completed'"):
        load_trial(sweep_dir, "off-0001")
    with pytest.raises(RecordsError, match="no sweep in"):
        load_trial(sweep_dir / "elsewhere", "off-0001")


def test_a_file_without_a_model_is_refused(sweep_dir: Path) -> None:
    torch.save({"weights": {}}, weights_path(sweep_dir, "off-0000"))
    with pytest.raises(UserError, match="is not a trained model"):
        load_trial(sweep_dir, "off-0000")


def test_by_default_all_axes_but_those_on_request() -> None:
    assert list(select_axes(None, [])) == ["quick", "boxed"]
    assert list(select_axes(None, ["slow.seed=1"])) == ["quick", "boxed", "slow"]
    assert list(select_axes(["slow"], [])) == ["slow"]


def test_settings_reach_their_axis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    axes = select_axes(["quick"], ["quick.n_images=7", "quick.seed=3", "quick.source=imagefolder:birds"])
    assert axes["quick"].model_dump() == {"n_images": 7, "seed": 3, "source": f"imagefolder:{tmp_path}/birds"}


@pytest.mark.parametrize(
    ("axes", "settings", "message"),
    [
        (["quik"], [], "unknown evaluation axis 'quik'; did you mean 'quick'"),
        (None, ["quik.seed=1"], "unknown evaluation axis 'quik'; did you mean 'quick'"),
        (["quick"], ["boxed.seed=1"], "the axis 'boxed' is not in --axes"),
        (["quick"], ["quick.n_image=1"], "unknown key 'n_image'; did you mean 'n_images'"),
        (["quick"], ["quick.n_images=0"], "'n_images': input should be greater than or equal to 1, got 0"),
        (["quick"], ["quick=1"], "takes one setting, for example"),
        (["boxed"], ["quick=1"], "takes one setting, for example"),
        (["quick"], ["quick"], "path=value"),
    ],
)
def test_refusals(axes: list[str] | None, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        select_axes(axes, settings)


def test_what_does_not_suit_is_left_out_or_refused(sweep_dir: Path) -> None:
    trials, axes, shown = select_trials(sweep_dir, None), select_axes(None, []), Lines()
    assert list(applicable_axes(axes, trials, by_name=False, display=shown)) == ["quick"]
    assert shown.lines == ["boxed is not measured: boxed: data without boxes; take tiny-imagenet"]
    with pytest.raises(UserError, match="data without boxes; take tiny-imagenet"):
        applicable_axes(axes, trials, by_name=True)


def test_what_was_measured_is_not_measured_again(sweep_dir: Path) -> None:
    trials, axes = select_trials(sweep_dir, None), select_axes(["quick", "slow"], [])
    tasks = list_tasks(sweep_dir, trials, axes)
    assert [task.axis.name for task in tasks] == ["quick"] * 4 + ["slow"] * 4
    assert tasks[0].curve["epoch"] == [1, 2]
    assert tasks[0].record["seconds"] > 0
    writer = RecordsWriter(sweep_dir)
    for task, status in ((tasks[0], COMPLETED), (tasks[1], FAILED)):
        row = {"trial": task.trial, "axis": task.axis.name, "settings": task.settings, "status": status}
        writer.add(MEASUREMENTS, {**row, "n_values": 0})
    writer.flush(force=True)
    left = list_tasks(sweep_dir, trials, axes)
    assert [(task.trial, task.axis.name) for task in left] == [(t.trial, t.axis.name) for t in tasks[1:]]
    other = select_axes(["quick"], ["quick.seed=1"])
    assert len(list_tasks(sweep_dir, trials, other)) == 4


def test_what_was_measured_is_measured_again_if_its_values_are_lost(sweep_dir: Path) -> None:
    trials, axes = select_trials(sweep_dir, None), select_axes(["quick"], [])
    tasks, writer = list_tasks(sweep_dir, trials, axes), RecordsWriter(sweep_dir)
    for task, n_values, n_written in zip(tasks, (2, 2, None, None), (2, 1, 1, 0), strict=True):
        row = {"trial": task.trial, "axis": task.axis.name, "settings": task.settings}
        writer.add(MEASUREMENTS, {**row, "status": COMPLETED, "n_values": n_values})  # null in older versions
        for number in range(n_written):
            writer.add(EVALUATIONS, {**row, "split": "test", "setting": "", "metric": f"metric{number}"})
    writer.flush(force=True)
    assert [task.trial for task in list_tasks(sweep_dir, trials, axes)] == [tasks[1].trial, tasks[3].trial]


def test_a_damaged_model_is_refused_and_the_others_are_measured(
    sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models of this sweep are empty files, but for one."""
    trials, shown = select_trials(sweep_dir, None)["trial"].tolist(), Warnings()
    write_state(weights_path(sweep_dir, trials[1]), {"weights": {}})
    measured: list[str] = []
    monkeypatch.setattr(run, "run_tasks", lambda tasks, *_, **__: measured.extend(task.trial for task in tasks))
    monkeypatch.setattr(engine, "cluster", lambda *_, **__: nullcontext(fixed_slots(1)))
    evaluated = evaluate_sweep(sweep_dir, axes=["quick"], display=shown)
    assert measured == [trials[1]]
    assert evaluated.damaged == [trials[0], *trials[2:]]
    assert len(shown.lines) == 3
    assert shown.lines[0].startswith(
        f"trial {trials[0]} is not measured: '{weights_path(sweep_dir, trials[0])}' is dam"
    )
    assert shown.lines[0].endswith(f"; regain it with: cutmix-sweep resume {sweep_dir}")
    assert weights_path(sweep_dir, trials[0]).exists()  # only `resume` and `check --repair` change a folder


def test_only_the_recorded_model_is_loaded(tmp_path: Path, simulate: Any, study_of: Callable[..., Study]) -> None:
    """The names of trials are looked up before they become paths."""
    sweep_dir = tmp_path / "sweep"

    def curve(job: Job, epoch: int) -> dict[str, Any]:
        last = epoch == job.config.optimizer.max_epochs
        return {"model_sha256": write_state(weights_path(sweep_dir, job.trial), {"trial": job.trial})} if last else {}

    budget = {"trials": 2, "max_epochs": 1, "early_stopping": {"rule": "none"}}
    simulate(study_of(arms={"off": {}}, budget=budget), sweep_dir, curve=curve).run()
    weights_path(sweep_dir, "off-0000").replace(weights_path(sweep_dir, "off-0001"))
    with pytest.raises(DamagedFile, match=r"off-0001\.pt' is damaged: it is not the recorded file"):
        load_trial(sweep_dir, "off-0001")
    with pytest.raises(UserError, match=r"it is lost: regain it with: cutmix-sweep resume"):
        load_trial(sweep_dir, "off-0000")
    (tmp_path / "stolen.pt").write_bytes(weights_path(sweep_dir, "off-0001").read_bytes())
    with pytest.raises(UserError, match=r"has no trial '\.\./\.\./stolen'"):
        load_trial(sweep_dir, "../../stolen")


def test_measurements_keep_to_the_nodes_that_can_run_them() -> None:
    from ray import remote

    there = [LiveNode("aa", "a", {"CPU": 2.0}), LiveNode("bb", "b", {"CPU": 4.0})]
    slots = Slots(Resources(), lambda: there, is_elastic=True)
    nodes = slots.nodes = Nodes()
    nodes.set_alive({"aa": "a", "bb": "b"})
    nodes.set_checked("aa", "a")
    slots.update(now=True)
    turns = run._Turns(slots, None, Warnings(), lambda: None)
    assert (turns.limit(), turns.options()) == (2, {})
    nodes.set_unfit("bb", "b", "it does not see '/images'")
    assert turns.options() == {"label_selector": {"ray.io/node-id": "!in(bb)"}}
    remote(num_cpus=1)(run.measure_task).options(**turns.options())  # Ray accepts it
    assert run._Turns(slots, 1, Warnings(), lambda: None).limit() == 1
    nodes.set_unfit("aa", "a", "it does not see '/images'")
    with pytest.raises(UserError, match="no node can run trials: 'a' "):
        turns.limit()
