"""Tables of the paper, computed again: one sweep per study in one folder, each trained and then measured."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from search_spaces.extension import extended
from search_spaces.study import Study
from search_spaces.table import TablePart
from sweep.display import SILENT, Display
from sweep.endings import EndedEarly
from sweep.evaluation.request import applicable_axes, select_axes
from sweep.images import show_data_warnings
from sweep.manifest import read_study
from sweep.plan import Plan, make_plan
from sweep.planned import first_config
from sweep.records.manifest_file import manifest_copy
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import COMPLETED, FAILED, MANIFEST, TRIALS
from sweep.storage import opened
from trainables.config import TrialConfig
from trainables.errors import UserError

RESUME_NOTE = "the same command continues here: nothing is trained or measured twice"


@dataclass(frozen=True)
class Cluster:
    """Where trials and measurements run, as for ``run``.

    Attributes:
        address: Ray cluster to join; None: start Ray on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.
        strict_nodes: whether one node that cannot run trials refuses the run.
        max_trials: largest number of trials, or measurements, at the same time; None: as many as fit.
        start_timeout: longest wait for the first node of a cluster, in minutes; None: the default of ``run``.
    """

    address: str | None = None
    insecure: bool = False
    strict_nodes: bool = False
    max_trials: int | None = None
    start_timeout: float | None = None


@dataclass(frozen=True)
class PlannedPart:
    """Size of one study of a table.

    Attributes:
        part: the study.
        plan: its plan on this machine; None: it is not known here.
        why: why it is not known, in one sentence.
    """

    part: TablePart
    plan: Plan | None
    why: str = ""

    @property
    def n_trials(self) -> int:
        """Number of trials of all arms."""
        return len(self.part.study.arms) * self.part.study.trials_per_arm

    @property
    def config(self) -> TrialConfig:
        """Configuration of the first trial; all trials have its data and network."""
        return first_config(self.part.study)

    @property
    def n_epochs(self) -> int:
        """Number of epochs of all trials."""
        return sum(map(self.part.study.max_epochs_in, self.part.study.arms))


def plan_parts(parts: Iterable[TablePart]) -> list[PlannedPart]:
    """Return the size of each study of a table; nothing is started or written.

    A study whose images are not here, or which needs a GPU that this machine has not, has no plan and a reason.

    Args:
        parts: from :func:`search_spaces.table.load_parts`.

    Examples:
        >>> from search_spaces.table import load_parts
        >>> [planned] = plan_parts(load_parts("ablation", settings=["base.data.source='cifar100:/nowhere'"]))
        >>> planned.n_trials, planned.n_epochs, planned.why.split(":")[0]
        (21, 6300, 'cifar100')
    """
    planned = []
    for part in parts:
        try:
            planned.append(PlannedPart(part, make_plan(part.study)))
        except UserError as error:
            planned.append(PlannedPart(part, None, str(error)))
    return planned


def check_parts(parts: Iterable[TablePart], *, download: bool = False, display: Display = SILENT) -> None:
    """Check the settings of all axes, and that each axis applies to the images and networks of its study.

    Args:
        parts: the studies of a table.
        download: whether images that are missing are downloaded later: the axes of their study are checked then.
        display: shows the progress.

    Raises:
        UserError: an axis has no such setting, or does not apply.
    """
    for part in parts:
        axes = select_axes(list(part.axes), list(axis_settings(part)))
        if download:
            continue
        configs = [part.study.trial_config(arm, {}, replicate=0).model_dump_json() for arm in part.study.arms]
        status = f"checking what is measured on {part.name}"
        with display.show_status(status), show_data_warnings(display.show_warning):
            applicable_axes(axes, pd.DataFrame({"config": configs[:1]}), by_name=True, display=display)


def run_part(
    part: TablePart,
    out: Path,
    *,
    cluster: Cluster | None = None,
    download: bool = False,
    command: str = "sweep.reproduce.run_part",
    display: Display = SILENT,
) -> int:
    """Train the trials of one study that have not ended, then measure what is not measured.

    The sweep is in ``out/NAME``. If another table has begun it with other arms, the arms that are missing are added.

    Returns:
        Number of trials and measurements that failed.

    Raises:
        UserError: the folder has a sweep of another study, or the study, its data or the cluster cannot be used.
        EndedEarly: a signal, a limit or a full disk ended it; the same call continues.
    """
    from sweep.evaluation.evaluate import evaluate_sweep

    cluster = Cluster() if cluster is None else cluster
    with opened(out / part.name, write=True, show_status=display.show_status) as sweep:
        try:
            _train(part, sweep.path, cluster, download=download, command=command, display=display)
            if download:
                check_parts([part], display=display)
            trials = _trials(sweep.path, part)
            completed = list(trials.loc[trials["status"] == COMPLETED, "trial"])
            n_failed = int((trials["status"] == FAILED).sum())
            if not completed:
                return n_failed
            evaluated = evaluate_sweep(
                sweep.path,
                axes=list(part.axes),
                trials=completed,
                settings=list(axis_settings(part)),
                command=command,
                display=display,
                **vars(cluster),
            )
        except EndedEarly:
            display.show_line(RESUME_NOTE)
            raise
    return n_failed + len(evaluated.failures) + len(evaluated.damaged)


@contextlib.contextmanager
def begun_folders(parts: Iterable[TablePart], out: Path, *, display: Display = SILENT) -> Iterator[dict[str, Path]]:
    """Open the sweeps of a table that have begun; the value is the folder of each, by study."""
    with contextlib.ExitStack() as stack:
        folders = {}
        for part in parts:
            sweep = stack.enter_context(opened(out / part.name, show_status=display.show_status))
            if has_sweep(sweep.path):
                folders[part.name] = sweep.path
        yield folders


def _train(
    part: TablePart, sweep_dir: Path, cluster: Cluster, *, download: bool, command: str, display: Display
) -> None:
    from sweep.launch import resume_sweep, start_sweep

    if not has_sweep(sweep_dir):
        start_sweep(part.study, out=sweep_dir, download=download, command=command, display=display, **vars(cluster))
        return
    missing = missing_arms(part.study, read_study(read_manifest(sweep_dir), sweep_dir), sweep_dir)
    change = partial(extended, arms=missing) if missing else None
    resume_sweep(sweep_dir, change=change, command=command, display=display, **vars(cluster))


def has_sweep(sweep_dir: Path) -> bool:
    """Return whether a sweep has begun in a folder."""
    return (sweep_dir / MANIFEST).exists() or manifest_copy(sweep_dir).exists()


def missing_arms(study: Study, recorded: Study, sweep_dir: Path) -> dict[str, object]:
    """Return the arms of a study that a recorded sweep of it lacks, as in a study file.

    Raises:
        UserError: the recorded study differs in more than its arms.
    """
    arms, known = study.model_dump(mode="json"), recorded.model_dump(mode="json")
    wanted, present = arms.pop("arms"), known.pop("arms")
    for number in ("trials_per_gpu", "gpus"):  # a number that was measured at the start is recorded in their place
        if study.resources.trials_per_gpu == "auto":
            arms["resources"].pop(number, None)
            known["resources"].pop(number, None)
    same = arms == known and all(present[arm] == wanted[arm] for arm in wanted.keys() & present.keys())
    if not same:
        raise UserError(
            f"--out: '{sweep_dir}' has a sweep of '{study.name}' with other values, for example another scale, network "
            "or seed: choose a new folder, or repeat the options with which that sweep was started"
        )
    return {arm: values for arm, values in wanted.items() if arm not in present}


def axis_settings(part: TablePart) -> Sequence[str]:
    """Return the settings of the axes of a study as ``evaluate --set`` takes them.

    Examples:
        >>> from search_spaces.table import load_parts
        >>> axis_settings(load_parts("robustness", scale="smoke")[1])
        ['ood.scores=["msp"]', 'ood.n_images=100']
    """
    return [
        f"{axis}.{name}={json.dumps(value, ensure_ascii=False)}"
        for axis, values in part.axes.items()
        for name, value in values.items()
    ]


def _trials(sweep_dir: Path, part: TablePart) -> pd.DataFrame:
    """Return the records of the trials of the arms that the table needs."""
    trials = read_table(sweep_dir, TRIALS)
    return trials[trials["arm"].isin(part.study.arms)]
