"""Live logging to event files of TensorBoard: one run per trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams

from sweep.endings import reason_of
from sweep.log_to import LogTo
from sweep.loggers.base import LiveLogger, LoggedTrial
from sweep.tensorboard_tags import tag_of
from trainables.errors import UserError


class TensorboardLogger(LiveLogger):
    """Logger to event files in ``FOLDER/SWEEP/ARM/TRIAL``."""

    def __init__(self, log_to: LogTo, sweep_dir: Path, *, study: str) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be made.
        """
        self._folder = Path(log_to.target).absolute() / sweep_dir.name
        self._study = study
        self._writers: dict[str, EventsWriter] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{log_to}: {reason_of(error)}") from None

    def begin(self, trial: LoggedTrial) -> int:
        """Write the parameters of a trial; a resumed trial gets one more file, which TensorBoard joins.

        TensorBoard then ignores epochs of former files that the records have lost: they are logged again.
        """
        facts = {"study": self._study, **trial.facts}
        folder = self._folder / trial.arm / trial.name
        folder.mkdir(parents=True, exist_ok=True)
        n_files = len(list(folder.iterdir()))  # the library's own names differ only by the second
        self._writers[trial.trial_id] = EventsWriter(str(folder / f"events-{n_files}"))
        self._write(trial, Event(session_log=SessionLog(status=SessionLog.START), step=trial.epoch + 1))
        self._write(trial, Event(summary=hparams(facts, {})[1]))
        return 0

    def log(self, trial: LoggedTrial, epoch: int, values: Mapping[str, float]) -> None:
        """Write the values of an epoch."""
        scalars = [Summary.Value(tag=tag_of(name), simple_value=value) for name, value in values.items()]
        self._write(trial, Event(summary=Summary(value=scalars), step=epoch))

    def _write(self, trial: LoggedTrial, event: Event) -> None:
        writer = self._writers[trial.trial_id]
        event.wall_time = time.time()
        writer.write_event(event)
        writer.flush()

    def end(self, trial: LoggedTrial, *, failed: bool) -> None:
        """Close the file of a trial."""
        if writer := self._writers.pop(trial.trial_id, None):
            writer.close()
