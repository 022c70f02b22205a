"""Steering a sweep from another process, on any machine that sees its folder.

If a process runs the sweep, it receives a request and answers it. Otherwise the change is made here, under the lock.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sweep.conductor import Conductor
from sweep.display import SILENT, Display
from sweep.driver import Driver, DriverObserver, Presence, find_driver
from sweep.endings import resume_command
from sweep.growth import grown, with_setting
from sweep.inbox import Inbox, Request, new_request
from sweep.ledger import read_entries
from sweep.lock import locked
from sweep.manifest import add_part_folders, read_study
from sweep.mirrored import refresh, writable
from sweep.proposals import Proposals
from sweep.records.reader import read_manifest
from sweep.records.repair import repair_records
from sweep.records.schema import LIVING
from sweep.records.study_edits import check_study
from sweep.steering import MAX_TRIALS, parse_max_trials
from trainables.errors import UserError, did_you_mean

DRIVER_S = 2.0
"""Pause between two looks for the process that is to answer."""


class NoDriver(Exception):
    """No process runs the sweep any more: the request was taken back."""


def stop_sweep(sweep_dir: Path, *, reason: str = "", wait: bool = True, display: Display = SILENT) -> str:
    """End the process that runs a sweep; return what it answered.

    Raises:
        UserError: no process runs the sweep.
    """
    _read_manifest(sweep_dir)
    _driver_of(sweep_dir, "nothing to stop", display)
    return _ask_running(sweep_dir, new_request("stop", reason=reason), wait=wait, display=display)


def pause_sweep(sweep_dir: Path, *, reason: str = "", wait: bool = True, display: Display = SILENT) -> str:
    """Pause a sweep: running trials end at their next epoch, and no other starts; return the answer.

    Raises:
        UserError: no process runs the sweep, or it is paused already.
    """
    _read_manifest(sweep_dir)
    driver = _driver_of(sweep_dir, "nothing to pause", display)
    if driver.paused:
        raise UserError(f"'{sweep_dir}' is paused already, {driver.paused}: {resume_command(sweep_dir)}")
    return _ask_running(sweep_dir, new_request("pause", reason=reason), wait=wait, display=display)


def resume_paused(sweep_dir: Path, *, display: Display = SILENT) -> str:
    """Continue a sweep that its process holds paused; return what it answered; "" if it is not held so."""
    driver = _driver(sweep_dir, display, may_be_deaf=True)
    if driver is None or not driver.paused:
        return ""
    try:
        return _ask(sweep_dir, new_request("resume"), wait=True, display=display)
    except NoDriver:
        return ""


def set_value(sweep_dir: Path, setting: str, *, reason: str = "", wait: bool = True, display: Display = SILENT) -> str:
    """Change a value of a running sweep, ``max_trials=N`` or a limit; return what its process answered.

    Raises:
        UserError: no process runs the sweep, or it has no such value.
    """
    name, equals, value = setting.partition("=")
    if not equals:
        raise UserError(f"'{setting}': give NAME=VALUE, for example {MAX_TRIALS}=4")
    manifest = _read_manifest(sweep_dir)
    if name == MAX_TRIALS:
        bound = parse_max_trials(value)
        option = [] if bound is None else ["--max-trials", str(bound)]
    else:
        with_setting(read_study(manifest, sweep_dir), name, value)
        option = ["--set", setting]
    otherwise = f"give the value when it is resumed: {resume_command(sweep_dir, None, *option)}"
    _driver_of(sweep_dir, otherwise, display)
    request = new_request("set", reason=reason, values={name: value})
    return _ask_running(sweep_dir, request, wait=wait, display=display)


def extend_running(sweep_dir: Path, additions: dict[str, Any], *, wait: bool = True, display: Display = SILENT) -> str:
    """Extend a sweep that runs; return what its process answered; "" if no process runs it.

    Args:
        sweep_dir: folder of the sweep.
        additions: values of ``sweep.growth.Additions``.
        wait: whether to wait for the answer.
        display: shows what is waited for.

    Raises:
        UserError: the study cannot be extended so; nothing is written then.
    """
    if _driver(sweep_dir, display) is None:
        return ""
    manifest = _read_manifest(sweep_dir)
    add_part_folders(manifest, sweep_dir)
    grown(read_study(manifest, sweep_dir), additions)
    try:
        return _ask(sweep_dir, new_request("extend", values=additions), wait=wait, display=display)
    except NoDriver:
        return ""


def stop_trials(
    sweep_dir: Path,
    *,
    trial: str | None = None,
    arm: str | None = None,
    reason: str = "",
    wait: bool = True,
    display: Display = SILENT,
) -> str:
    """Cancel one trial or all trials of an arm; return what that means.

    Args:
        sweep_dir: folder of the sweep.
        trial: name of the trial; it may not have begun.
        arm: name of the arm, if no trial is given.
        reason: the user's words, which are recorded.
        wait: whether to wait for the answer of the process that runs the sweep.
        display: shows what is waited for, and what a repair of the records found.

    Raises:
        UserError: there is no such trial or arm, or it has ended.
    """
    _check_target(sweep_dir, trial, arm)
    request = new_request("stop", reason=reason, trial=trial, arm=arm)
    if _driver(sweep_dir, display) is not None:
        try:
            return _ask(sweep_dir, request, wait=wait, display=display)
        except NoDriver:
            pass
    return _cancel(sweep_dir, request, display)


def _check_target(sweep_dir: Path, trial: str | None, arm: str | None) -> None:
    """Check the name of a trial or an arm before anything is written."""
    manifest = _read_manifest(sweep_dir)
    study = read_study(manifest, sweep_dir)
    if trial is None:
        if arm not in study.arms:
            raise UserError(f"--arm '{arm}': '{sweep_dir}' has no such arm{did_you_mean(str(arm), study.arms)}")
        return
    entries = {entry.trial: entry for entry in read_entries(sweep_dir, study)}
    proposals = Proposals(study, entries)
    if trial not in entries and proposals.named(trial) is None:
        names = proposals.names_like(trial)
        raise UserError(f"--trial '{trial}': '{sweep_dir}' has no such trial{did_you_mean(trial, names)}")
    if trial in entries and entries[trial].status not in LIVING:
        raise UserError(f"--trial '{trial}': it has ended already: {entries[trial].status}")


def _cancel(sweep_dir: Path, request: Request, display: Display) -> str:
    """Cancel trials of a sweep that no process runs."""
    show_status = display.show_status
    with writable(sweep_dir, show_status) as folder, locked(folder, show_status=show_status):
        check_study(folder)
        for finding in repair_records(folder):
            display.show_warning(finding.describe())
        manifest = read_manifest(folder)
        add_part_folders(manifest, folder)
        conductor = Conductor(read_study(manifest, folder), folder, repaired=True, warn=display.show_warning)
        if request.trial is not None:
            return conductor.cancel_trial(request.trial, request.why)
        return conductor.cancel_arm(str(request.arm), request.why)


def _read_manifest(sweep_dir: Path) -> dict[str, Any]:
    """Read the manifest, and before that what is new of a sweep in an object store."""
    refresh(sweep_dir)
    return read_manifest(sweep_dir)


def _driver(sweep_dir: Path, display: Display, *, may_be_deaf: bool = False) -> Driver | None:
    """Return the process that runs a sweep; None if there is none.

    Raises:
        UserError: it reads no requests.
    """
    with display.show_status("looking for the process that runs the sweep"):
        driver = find_driver(sweep_dir)
    if driver is not None and not driver.takes_requests and not may_be_deaf:
        raise UserError(
            f"'{sweep_dir}' is in use by {driver.describe()}, which takes no requests now: it starts, measures or is "
            "of an older version; try again later"
        )
    return driver


def _driver_of(sweep_dir: Path, otherwise: str, display: Display) -> Driver:
    driver = _driver(sweep_dir, display)
    if driver is None:
        raise UserError(f"no process runs '{sweep_dir}': {otherwise}")
    return driver


def _ask_running(sweep_dir: Path, request: Request, *, wait: bool, display: Display) -> str:
    try:
        return _ask(sweep_dir, request, wait=wait, display=display)
    except NoDriver:
        raise UserError(f"the process that ran '{sweep_dir}' ended before it had answered") from None


def _ask(sweep_dir: Path, request: Request, *, wait: bool, display: Display) -> str:
    """Write a request and return its answer; an interrupted wait takes the request back.

    Raises:
        UserError: the request was refused.
        NoDriver: the process ended before it had read the request.
    """
    inbox, observer, looked_at_s = Inbox(sweep_dir), DriverObserver(sweep_dir), time.monotonic()
    name = inbox.add(request)
    if not wait:
        return f"requested: '{inbox.folder / name}'"
    try:
        with display.show_status("waiting for the answer of the process that runs the sweep"):
            while (result := inbox.result(name)) is None:
                time.sleep(inbox.answer_s)
                if time.monotonic() - looked_at_s < DRIVER_S:
                    continue
                looked_at_s = time.monotonic()
                if observer.look() is Presence.GONE and inbox.withdraw(name):
                    raise NoDriver
    except KeyboardInterrupt:
        inbox.withdraw(name)
        raise
    if not result.applied:
        raise UserError(result.text)
    return result.text
