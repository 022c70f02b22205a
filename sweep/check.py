"""Verification of the folder of a sweep: what is damaged, what that costs, and what a repair does."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from search_spaces.study import Study
from sweep.conductor import Conductor
from sweep.entry import Entry
from sweep.ledger import checkpoint_path, model_damage, read_entries, weights_path
from sweep.lock import locked
from sweep.lost import describe_trials
from sweep.manifest import read_study
from sweep.model_stamps import STAMPS
from sweep.records.counts import COUNTS
from sweep.records.errors import RecordsError
from sweep.records.manifest_file import manifest_copy, no_sweep
from sweep.records.parts import COPIES, live_parts, part_of
from sweep.records.reader import read_manifest
from sweep.records.repair import Finding, inspect_records, repair_records
from sweep.records.schema import COMPLETED, EPOCHS, EVALUATIONS, FAILED, LIVING, MANIFEST, RECORDS, RUNNING, TABLES
from sweep.records.table_files import lost_rows, table_folder
from trainables.errors import UserError
from trainables.intact import DamagedFile
from trainables.saved_state import verify_state
from trainables.whole_file import UNFINISHED

_OWN_NAMES = (MANIFEST, "sweep.log", RECORDS, "models", "checkpoints", "pictures", "export", "report", "inbox", "logs")
"""Files and folders that the program writes into the folder of a sweep, besides the lock."""

_LOCKS = ".lock"
"""Beginning of the names of files that lock a sweep."""

NO_MANIFEST = f"{MANIFEST} cannot be restored"
"""Why nothing is known of the trials of a sweep: no command regains it."""

_SET_ASIDE = re.compile(r".+\.damaged-\d+")


@dataclass(frozen=True)
class Problem:
    """Something that is damaged, lost or incomplete.

    Attributes:
        what: kind of thing: records, model, checkpoint or trial.
        path: file or folder.
        problem: what is wrong.
        repair: what removes the problem, or has removed it.
        trials: trials that `resume` runs again because of it.
        epochs: epochs that it repeats at most.
        seconds: time that these epochs took; NaN if it is not known.
    """

    what: str
    path: Path
    problem: str
    repair: str
    trials: tuple[str, ...] = ()
    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class ToRun:
    """Trials that `resume` runs.

    Attributes:
        n_left: trials that have not ended or lack something.
        n_trials: all trials of the sweep.
        epochs: epochs that are repeated at most, because something is lost.
        seconds: time that these epochs took; NaN if it is not known.
    """

    n_left: int
    n_trials: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Unverified:
    """What an older version recorded without a checksum.

    Attributes:
        n_parts: files of the records in which damage may go unnoticed.
        trials: completed trials without a model; whether they had one is not known.
    """

    n_parts: int = 0
    trials: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepCheck:
    """Result of a check.

    Attributes:
        sweep_dir: folder of the sweep.
        problems: what is damaged, lost or incomplete now.
        repaired: what a repair has restored or given up.
        leftovers: files that the program does not use; they are left alone.
        lost_rows: number of rows by table that were given up, now or earlier.
        unverified: what has no checksum.
        n_upgraded: files of the records that a repair has given a checksum and a copy.
        to_run: what `resume` runs; None if it cannot be known.
        unknown: why it cannot be known; "" if it is.
    """

    sweep_dir: Path
    problems: tuple[Problem, ...]
    repaired: tuple[Problem, ...]
    leftovers: tuple[Path, ...]
    lost_rows: dict[str, int]
    to_run: ToRun | None
    unknown: str = ""
    unverified: Unverified = Unverified()
    n_upgraded: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is known to be damaged, lost or incomplete; see ``unverified``."""
        return not self.problems


def check_sweep(sweep_dir: Path, *, repair: bool = False) -> SweepCheck:
    """Verify every file of a sweep that does not run; torch is not needed.

    What a repair would do and cost is found by repairing a copy of the records in a temporary folder.

    Args:
        sweep_dir: folder of the sweep.
        repair: whether the records are repaired. Models and checkpoints are replaced by ``resume``.

    Raises:
        RecordsError: there is no sweep in the folder, or its ``sweep.json`` cannot be restored.
        UserError: a process runs the sweep.
    """
    if not (sweep_dir / MANIFEST).exists() and not manifest_copy(sweep_dir).exists():
        raise no_sweep(sweep_dir)
    with _locked_if_possible(sweep_dir, needed=repair):
        n_before = _n_parts_without_checksum(sweep_dir)
        repaired = [_problem(finding) for finding in repair_records(sweep_dir)] if repair else []
        problems = [_problem(finding) for finding in inspect_records(sweep_dir)]
        with _repaired_copy(sweep_dir) as copy:
            if copy is None:
                result = SweepCheck(sweep_dir, tuple(problems), (), (), {}, None, NO_MANIFEST)
            else:
                result = _check_trials(sweep_dir, copy, problems)
        n_parts = _n_parts_without_checksum(sweep_dir)
        return replace(
            result,
            repaired=tuple(repaired),
            leftovers=tuple(sorted(_leftovers(sweep_dir))),
            unverified=replace(result.unverified, n_parts=n_parts),
            n_upgraded=n_before - n_parts,
        )


def _n_parts_without_checksum(sweep_dir: Path) -> int:
    folders = (table_folder(sweep_dir, table) for table in TABLES.values())
    return sum(not part.digest for folder in folders for part in live_parts(folder))


def _problem(finding: Finding) -> Problem:
    return Problem("records", finding.path, finding.problem, finding.remedy)


@contextlib.contextmanager
def _locked_if_possible(sweep_dir: Path, *, needed: bool) -> Iterator[None]:
    """Lock the sweep; a check works on a folder that cannot be written, too."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(sweep_dir))
        except OSError:
            if needed:
                raise
        yield


@contextlib.contextmanager
def _repaired_copy(sweep_dir: Path) -> Iterator[Path | None]:
    """Yield a temporary folder with the repaired records; None if the manifest cannot be restored."""
    with tempfile.TemporaryDirectory(prefix="cutmix-sweep-check-") as scratch:
        copy = Path(scratch) / sweep_dir.resolve().name
        copy.mkdir()
        _copy_records(sweep_dir, copy)
        try:
            repair_records(copy)
        except DamagedFile:
            yield None
            return
        yield copy


def _copy_records(sweep_dir: Path, copy: Path) -> None:
    """Copy the files of the records; what a link in their place leads to may be a whole disk, or a pipe."""
    records = Path(RECORDS)
    tables = [*TABLES, *(table.old_name for table in TABLES.values() if table.old_name)]
    folders = [folder / name for folder in (records, records / COPIES) for name in ("", *tables)]
    for folder in (Path(), *folders):
        for path in (sweep_dir / folder).glob("*"):
            if path.is_file() and (path.name in (MANIFEST, COUNTS) or part_of(path) is not None):
                (copy / folder).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy / folder)


def _check_trials(sweep_dir: Path, copy: Path, problems: list[Problem]) -> SweepCheck:
    """Add what is wrong with models, checkpoints and trials, given repaired records."""
    lost = lost_rows(copy)
    try:
        study = read_study(read_manifest(copy), sweep_dir)
        ended = {entry.trial for entry in read_entries(copy, study) if entry.status != RUNNING}
        conductor = Conductor(study, copy, repaired=True)
    except (UserError, RecordsError) as error:  # a part of the user's own may be gone
        message = str(error).replace(str(copy), str(sweep_dir))
        return SweepCheck(sweep_dir, tuple(problems), (), (), lost, None, message)
    costs = _Costs(conductor)
    models = list(_check_models(sweep_dir, conductor, costs))
    without_model = {name for problem in models for name in problem.trials}
    trials = list(_check_values(sweep_dir, conductor, ended, costs, without_model))
    checkpoints = list(_check_checkpoints(sweep_dir, conductor, costs))
    found = [*problems, *models, *checkpoints, *trials]
    to_run = ToRun(
        conductor.n_left + sum(conductor.entries[name].status == COMPLETED for name in without_model),
        conductor.n_trials,
        sum(problem.epochs for problem in found),
        sum(problem.seconds for problem in found),
    )
    return SweepCheck(
        sweep_dir, tuple(found), (), (), lost, to_run, unverified=_unverified_models(sweep_dir, conductor)
    )


def _unverified_models(sweep_dir: Path, conductor: Conductor) -> Unverified:
    completed = (entry for entry in conductor.entries.values() if entry.status == COMPLETED and not entry.model_sha256)
    return Unverified(trials=tuple(e.trial for e in completed if not weights_path(sweep_dir, e.trial).exists()))


class _Costs:
    """Time of repeated epochs, from the recorded seconds of a trial's epochs or of all epochs."""

    def __init__(self, conductor: Conductor) -> None:
        n_epochs = sum(entry.epochs for entry in conductor.entries.values())
        self._mean_s = conductor.training_s / n_epochs if conductor.training_s else math.nan

    def of(self, entry: Entry, n_epochs: int) -> float:
        """Return the seconds of epochs of a trial; NaN if no epoch is left that tells how long one takes."""
        seconds = [row["seconds"] for row in entry.curve.values()]
        return n_epochs * (sum(seconds) / len(seconds) if seconds else self._mean_s) if n_epochs else 0.0


def _file_problem(what: str, damage: DamagedFile, repair: str, trial: str, n_epochs: int, seconds: float) -> Problem:
    """Return the problem that a file of one trial is damaged."""
    return Problem(what, damage.path, damage.reason, repair, (trial,), n_epochs, seconds)


def _check_models(sweep_dir: Path, conductor: Conductor, costs: _Costs) -> Iterator[Problem]:
    for entry in conductor.entries.values():
        status = entry.end.status if entry.end else entry.status
        damage = model_damage(sweep_dir, entry.trial, entry.model_sha256) if status == COMPLETED else None
        if damage is not None:
            n_epochs = conductor.study.max_epochs_of(entry.params)
            repair = f"resume runs {entry.trial} again"
            yield _file_problem("model", damage, repair, entry.trial, n_epochs, costs.of(entry, n_epochs))


def _check_values(
    sweep_dir: Path, conductor: Conductor, ended: set[str], costs: _Costs, without_model: set[str]
) -> Iterator[Problem]:
    """Yield which trials lack epochs, and which lack test values alone; repeating one without a model costs no more."""
    entries = conductor.entries.values()
    reopened = [entry for entry in entries if entry.is_behind or (entry.trial in ended and entry.status == RUNNING)]
    behind = [entry for entry in reopened if entry.is_behind]
    untested = [entry for entry in reopened if not entry.is_behind]
    repeated = [entry for entry in behind if entry.trial not in without_model]
    if behind:
        yield Problem(
            "trial",
            sweep_dir / RECORDS / EPOCHS.name,
            f"epochs are missing of {describe_trials([entry.trial for entry in behind])}",
            "resume runs them again, from the checkpoint or from the first epoch",
            tuple(entry.trial for entry in behind),
            sum(entry.known_epochs for entry in repeated),
            sum(costs.of(entry, entry.known_epochs) for entry in repeated),
        )
    if untested:
        yield Problem(
            "trial",
            sweep_dir / RECORDS / EVALUATIONS.name,
            f"test values are missing of {describe_trials([entry.trial for entry in untested])}",
            "resume measures their models",
            tuple(entry.trial for entry in untested),
        )


def _check_checkpoints(sweep_dir: Path, conductor: Conductor, costs: _Costs) -> Iterator[Problem]:
    for path in sorted(checkpoint_path(sweep_dir, "").parent.glob("*.pt")):
        try:
            verify_state(path)
        except DamagedFile as error:
            trial, entry = path.stem, conductor.entries.get(path.stem)
            is_needed = _is_of(conductor.study, trial) if entry is None else entry.status in (*LIVING, FAILED)
            if is_needed:
                option = " --retry-failed" if entry and entry.status == FAILED else ""
                n_epochs = entry.epochs if entry else 0
                repair = f"resume{option} runs {trial} from its first epoch"
                seconds = costs.of(entry, n_epochs) if entry else 0.0
                yield _file_problem("checkpoint", error, repair, trial, n_epochs, seconds)


def _is_of(study: Study, trial: str) -> bool:
    """Return whether a name is that of a trial of the study: a kill may have come before the trial was recorded."""
    arm, _, number = trial.rpartition("-")
    return arm in study.arms and number.isdigit()


def _leftovers(sweep_dir: Path) -> Iterator[Path]:
    """Yield files of killed writers, files that were set aside, and files that the program does not write."""
    for path in sweep_dir.iterdir():
        if not path.name.startswith(_LOCKS) and path.name not in _OWN_NAMES:
            yield path
    tables = [*TABLES, *(table.old_name for table in TABLES.values() if table.old_name)]
    known = {*tables, COPIES, COUNTS, MANIFEST}
    for records in (sweep_dir / RECORDS, sweep_dir / RECORDS / COPIES):
        if records.is_dir():
            yield from (path for path in records.iterdir() if path.name not in known)
        for folder in filter(Path.is_dir, (records / name for name in tables)):
            yield from (path for path in folder.iterdir() if part_of(path) is None)
    for folder in (weights_path(sweep_dir, "").parent, checkpoint_path(sweep_dir, "").parent):
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path.suffix != ".pt" and path.name != STAMPS)


def describe_leftover(path: Path) -> str:
    """Return what a leftover is.

    Examples:
        >>> describe_leftover(Path("models/off-0000.pt.damaged-1"))
        'set aside because it was damaged'
    """
    if _SET_ASIDE.fullmatch(path.name):
        return "set aside because it was damaged"
    if path.name.endswith(UNFINISHED):
        return "left by a process that was killed"
    return "not written by cutmix-sweep"
