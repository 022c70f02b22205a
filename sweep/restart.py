"""Runs that continue by themselves: ``run --or-resume``, and a driver that is started again after it was lost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from search_spaces.resources import AUTO
from search_spaces.study import Study
from sweep.display import SILENT, Display
from sweep.endings import FAILED_CODE, resume_command
from sweep.manifest import read_study
from sweep.mirrored import refresh
from sweep.records.errors import RecordsError
from sweep.records.manifest_file import CHANGES, manifest_copy, study_sha256
from sweep.records.reader import read_manifest, read_table
from sweep.records.schema import EPOCHS, FAILED, MANIFEST, TRIALS
from sweep.remaining import read_remaining
from sweep.signals import RAY_LOST_CODE, SIGNALS, current_signals, exit_code
from trainables.errors import UserError

PAUSE_S = 5.0
"""Pause before a driver is started again."""

LOOK_S = 0.1
"""Pause between two looks at a driver."""


def has_begun(study: Study, out: Path) -> bool:
    """Return whether a folder has a sweep of this study, which may have been extended since.

    Raises:
        UserError: it has a sweep of another study.
    """
    if not (out / MANIFEST).exists() and not manifest_copy(out).exists():
        return False
    manifest = read_manifest(out)
    runs = manifest["runs"]
    states = [state for run in runs for state in (run, *run.get(CHANGES, []))]
    resources = study.resources
    if resources.trials_per_gpu == AUTO and (number := manifest["study"].get("resources", {}).get("trials_per_gpu")):
        study = study.model_copy(update={"resources": resources.with_trials_per_gpu(number)})  # measured at its start
    known = {state.get("study_sha256") for state in states}
    # an older version has recorded a checksum without the keys that are new in this one
    if study_sha256(study.model_dump(mode="json")) not in known and read_study(manifest, out) != study:
        raise UserError(
            f"--out '{out}' has a sweep of another study: choose a new folder, or continue that sweep with: "
            f"{resume_command(out)}"
        )
    return True


def run_again(
    arguments: Sequence[str],
    out: Path,
    restarts: int,
    *,
    display: Display = SILENT,
    program: Sequence[str] = (sys.executable, "-m", "cutmix_sweep"),
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run a command that continues its sweep; run it again if its process was lost; return its exit code.

    A process is lost if a signal ended it that does not ask for an end, for example for lack of memory, or if it ended
    with exit code 1 or ``RAY_LOST_CODE`` before all trials had ended. All other ends are final.

    Args:
        arguments: arguments of the program.
        out: folder of the sweep.
        restarts: times in a row that the command is run again without a new epoch.
        display: shows what happens.
        program: command that runs the program.
        sleep: waits so many seconds.
    """
    current_signals().defer()  # the child receives them, and says how it ended
    n_left, n_epochs = restarts, _n_epochs(out)
    while True:
        code = _run([*program, *arguments])
        if not _is_lost(code, out):
            return code if code >= 0 else exit_code(-code)
        if (now := _n_epochs(out)) > n_epochs:
            n_left, n_epochs = restarts, now
        if not n_left or current_signals().signum is not None:
            return code if code >= 0 else exit_code(-code)
        n_left -= 1
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        display.show_warning(f"the driver ended {how} before all trials had ended: it is started again")
        sleep(PAUSE_S)


def _run(command: Sequence[str]) -> int:
    """Run a command to its end; pass signals of this process on to it."""
    signals, is_passed_on = current_signals(), False
    with subprocess.Popen(command) as child:
        while (code := child.poll()) is None:
            if signals.signum is not None and not is_passed_on:
                is_passed_on = True
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(signals.signum)
            time.sleep(LOOK_S)
    return code


def _is_lost(code: int, out: Path) -> bool:
    if code < 0:
        return -code not in SIGNALS
    return code in (FAILED_CODE, RAY_LOST_CODE) and _may_continue(out)


def _may_continue(out: Path) -> bool:
    """Return whether trials are left, and not too many have failed."""
    try:
        refresh(out, now=True)
        manifest = read_manifest(out)
        n_left = read_remaining(out, manifest).n_left
        limit = manifest["study"]["budget"].get("limits", {}).get("failed_trials")
        n_failed = int((read_table(out, TRIALS)["status"] == FAILED).sum())
    except (RecordsError, UserError, OSError):  # no sweep yet: it is begun again
        return not (out / MANIFEST).exists()
    return n_left > 0 and (limit is None or n_failed < limit)


def _n_epochs(out: Path) -> int:
    try:
        refresh(out, now=True)
        return len(read_table(out, EPOCHS))
    except (RecordsError, OSError):
        return 0
