"""A sweep that another process runs, shown as ``run`` shows it."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from sweep.driver import DriverObserver
from sweep.endings import HERE, Interrupted
from sweep.followed import FollowedSweep
from sweep.terminal.display import TerminalDisplay
from sweep.terminal.status import print_status

SECONDS_PER_READ = 1.0
"""Pause between two reads: the driver of a sweep writes its rows about as often."""


def follow_sweep(sweep_dir: Path, console: Console) -> int:
    """Show the progress of a sweep until it ends, then its results.

    Returns:
        Exit code of the command that ran the sweep.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
        UserError: the recorded study cannot be read.
        Interrupted: the process that ran the sweep has ended before all trials had.
    """
    followed, observer, display = FollowedSweep(sweep_dir), DriverObserver(sweep_dir), TerminalDisplay(console)
    if followed.n_left:
        with display.show_progress(followed.tracker()) as show:
            is_running, was_stalled = True, False
            while is_running and followed.n_left:
                driver = observer.glance()  # asked before the rows are read: none can then be missed
                followed.paused = driver.paused if driver else ""
                followed.update(fresh=driver is None)
                show()
                if driver is not None and driver.stalled and not was_stalled:
                    facts = (f"stalled: {driver.stalled}", driver.describe(), driver.advice)
                    display.show_warning("; ".join(filter(None, facts)))
                is_running, was_stalled = driver is not None, driver is not None and bool(driver.stalled)
                if is_running and followed.n_left:
                    time.sleep(max(SECONDS_PER_READ, observer.look_s))
    if followed.n_left:
        raise Interrupted(sweep_dir, HERE, followed.n_trials - followed.n_left, followed.n_trials)
    return print_status(sweep_dir, console)
