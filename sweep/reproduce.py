"""Tables of the paper, computed again: one sweep per study in one folder, each trained and then measured."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from search_spaces.extension import extended
from search_spaces.study import Study
from search_spaces.table import TablePart
from sweep.disk_room import DiskRoom, disk_rooms
from sweep.display import SILENT, Display
from sweep.endings import EndedEarly, Joined
from sweep.engine import local_slots
from sweep.evaluation.request import applicable_axes, select_axes
from sweep.images import show_data_warnings
from sweep.largest import step_flops
from sweep.manifest import read_study
from sweep.plan import make_plan, measure_speed
from sweep.planned import first_config
from sweep.random_trial import ImageFacts
from sweep.records.manifest_file import manifest_copy
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import COMPLETED, FAILED, MANIFEST, SEARCH, TRIALS
from sweep.storage import opened
from trainables.config import TrialConfig
from trainables.data.sources.base import Description
from trainables.data.sources.registry import open_source, split_text
from trainables.data.usable import check_usable
from trainables.errors import UserError

LOCAL = Joined()
"""Ray is started on this machine."""

RESUME_NOTE = "the same command continues here: nothing is trained or measured twice"


PUBLISHED_SIZES = {
    "cifar10": Description(50_000, 10, 32, 32),
    "cifar100": Description(50_000, 100, 32, 32),
    "cub": Description(5_994, 200, 224, 224),
    "imagenet": Description(1_281_167, 1_000, 224, 224),
}
"""Training images, classes and usual side of the paper's data sets: a table can be planned before they are here."""


@dataclass(frozen=True)
class PlannedPart:
    """Size of one study of a table.

    Attributes:
        part: the study.
        flops: floating-point operations of the training steps of a trial of the largest arm; None: not computed.
        seconds: duration of the training on this machine; None: not computed.
        why: why one of them is not known, or what it assumes; "" otherwise.
        disk: disk that the images need, if they are here and are files.
    """

    part: TablePart
    flops: float | None = None
    seconds: float | None = None
    why: str = ""
    disk: tuple[DiskRoom, ...] = ()

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

    If the images of a study are not here, the published size of their data set is assumed. If this machine lacks the
    GPU that trials need, the time is not known.

    Args:
        parts: from :func:`search_spaces.table.load_parts`.

    Examples:
        >>> from search_spaces.table import load_parts
        >>> settings = ["base.data.source='cifar100:/nowhere'", "base.model.name=tiny"]
        >>> [planned] = plan_parts(load_parts("ablation", settings=settings))
        >>> planned.n_trials, planned.n_epochs, planned.why.partition(":")[0]
        (21, 6300, '50,000 training images are assumed')
    """
    return [_planned(part) for part in parts]


def _planned(part: TablePart) -> PlannedPart:
    try:
        check_usable(open_source(first_config(part.study).data.source))
    except UserError as error:
        return _assumed(part, str(error))
    try:
        plan = make_plan(part.study)
    except UserError as error:  # for example no room on the disk: the other studies are planned nevertheless
        return PlannedPart(part, why=str(error))
    return PlannedPart(part, plan.train_flops[1], plan.seconds, plan.no_time, plan.disk)


def _assumed(part: TablePart, why: str) -> PlannedPart:
    """Return the size of a study whose images are not here, for the published size of their data set."""
    config, resources = first_config(part.study), part.study.resources
    described = PUBLISHED_SIZES.get(split_text(config.data.source)[0])
    if described is None:
        return PlannedPart(part, why=why)
    side_px = config.data.image_size_px or described.height_px
    facts, n_used = ImageFacts(described.n_classes, side_px, side_px), described.n_train * config.data.train_frac
    n_val = n_used * config.data.val_frac
    n_steps = (n_used - n_val) / config.data.batch_size * config.optimizer.max_epochs
    flops = n_steps * step_flops(config, facts)
    assumed = f"{described.n_train:,} training images are assumed: {why}"
    size = PlannedPart(part, flops, None, assumed)
    try:
        slots = local_slots(resources)
    except UserError as error:
        return replace(size, why=f"{assumed}; {error}")
    speed = resources.workers * measure_speed(config, facts, resources)
    seconds = size.n_epochs * (n_used - n_val + n_val / 3) / speed / min(slots, size.n_trials)
    return replace(size, seconds=seconds)


def check_parts(parts: Iterable[TablePart], *, download: bool = False, display: Display = SILENT) -> None:
    """Check the settings of all axes, and that each axis applies to the images and networks of its study.

    This decodes the images that this node has not decoded yet, if they fit on its disk.

    Args:
        parts: the studies of a table.
        download: whether images that are missing are downloaded later: the axes of their study are checked then.
        display: shows the progress.

    Raises:
        UserError: an axis has no such setting, or does not apply; or the images cannot be used, or do not fit on the
            disk.
    """
    for part in parts:
        axes = select_axes(list(part.axes), list(axis_settings(part)))
        if download:
            continue
        with display.show_status(f"checking the images of {part.name}"):
            check_usable(open_source(first_config(part.study).data.source))
            disk_rooms(part.study)
        configs = [part.study.trial_config(arm, {}, replicate=0).model_dump_json() for arm in part.study.arms]
        status = f"checking what is measured on {part.name}"
        with display.show_status(status), show_data_warnings(display.show_warning):
            applicable_axes(axes, pd.DataFrame({"config": configs[:1]}), by_name=True, display=display)


def run_parts(
    parts: Sequence[TablePart],
    out: Path,
    *,
    joined: Joined = LOCAL,
    download: bool = False,
    command: str = "sweep.reproduce.run_parts",
    display: Display = SILENT,
) -> int:
    """Check the studies of a table, then train and measure one after another; what has ended is not repeated.

    Args:
        parts: from :func:`search_spaces.table.load_parts`.
        out: folder that gets one sweep per study, or its address in an object store.
        joined: the cluster.
        download: whether missing public data are downloaded.
        command: how the table was started, for the manifests.
        display: shows the progress.

    Returns:
        Number of trials and measurements that failed.

    Raises:
        UserError: as for :func:`check_parts` and :func:`run_part`.
        EndedEarly: as for :func:`run_part`.
    """
    check_parts(parts, download=download, display=display)
    n_failed = 0
    for place, part in enumerate(parts, start=1):
        display.show_line(f"study {place} of {len(parts)}: {part.name}")
        n_failed += run_part(part, out, joined=joined, download=download, command=command, display=display)
    return n_failed


def run_part(
    part: TablePart,
    out: Path,
    *,
    joined: Joined = LOCAL,
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

    with opened(out / part.name, write=True, show_status=display.show_status) as sweep:
        try:
            _train(part, sweep.path, joined, download=download, command=command, display=display)
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
                joined=joined,
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


def _train(part: TablePart, sweep_dir: Path, joined: Joined, *, download: bool, command: str, display: Display) -> None:
    from sweep.launch import resume_sweep, start_sweep

    if not has_sweep(sweep_dir):
        start_sweep(part.study, out=sweep_dir, download=download, command=command, display=display, joined=joined)
        return
    missing = missing_arms(part.study, read_study(read_manifest(sweep_dir), sweep_dir), sweep_dir)
    change = partial(extended, arms=missing) if missing else None
    resume_sweep(sweep_dir, change=change, command=command, display=display, joined=joined)


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
    """Return the records of the trials of the arms that the table needs; a confirmation of them is not in the table."""
    trials = read_table(sweep_dir, TRIALS)
    return trials[trials["arm"].isin(part.study.arms) & (trials["phase"] == SEARCH)]
