"""State and model of one trial in a worker: when they are written, by whom, and how they are read."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from trainables.errors import UserError
from trainables.intact import DamagedFile
from trainables.saved_state import encode_state, named_damage, read_state, sha256_of_state, verify_state, write_state
from trainables.trial_files import HURRY_S, TrialFiles

if TYPE_CHECKING:
    from trainables.staging import Stage
    from trainables.trial import Trial

MAX_COST = 0.05
"""Largest fraction of the time in which the states of a trial are written, except at its end and before a pause."""

PAUSE_S = 30.0
"""Seconds between two states. A kill is rare: more frequent states would cost more time than they save."""

MAX_PAUSE_S = 300.0
"""Longest pause, however long it takes to write a state."""


def pause_after(write_s: float) -> float:
    """Return the seconds from the beginning of a state to the next one, by default.

    A state that takes long to write is written less often, although training continues meanwhile. The disk or store is
    shared by all trials of a sweep, and by its records.

    Args:
        write_s: seconds that the last state took, until it was on the disk or in the store.

    Examples:
        >>> pause_after(0.2), pause_after(2.0), pause_after(60.0)
        (30.0, 40.0, 300.0)
    """
    return min(max(write_s / MAX_COST, PAUSE_S), MAX_PAUSE_S)


class Checkpoints:
    """State and model of one trial.

    A state is written by time, while the next epoch trains: it is copied, and one thread writes the copy. It is written
    at once, before :meth:`save` returns, when the trial has ended and before the trial may pause. There is one writer:
    a state that is due waits for the end of the write before it.

    So a kill loses at most the pause between two states, the epoch in which the next one is due, and the time of a
    write. What is recorded is not lost: the epochs between the state and the records are computed again.

    A state or model that cannot be used is set aside. A recorded model that is intact stays: test values belong to it.

    Attributes:
        model_sha256: checksum of the trial's model; None: it is not known to be intact.
        warnings: what the sweep must be told; the reader clears it.
        stage: memory of the copies; None before the first one.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from trainables.config import TrialConfig
        >>> from trainables.data.prepared import prepare_data
        >>> from trainables.trial import Trial
        >>> from trainables.trial_files import SharedFiles
        >>> folder = Path(tempfile.mkdtemp())
        >>> files = SharedFiles(folder / "checkpoints" / "off-0000.pt", folder / "models" / "off-0000.pt")
        >>> values = {"data": {"train_frac": 0.02}, "optimizer": {"max_epochs": 2}, "mix": {"preset": "off"}}
        >>> config = TrialConfig.model_validate(values)
        >>> trial = Trial(config, prepare_data(config.data))
        >>> checkpoints = Checkpoints(files, "off-0000", pause_epochs=[1])
        >>> result = trial.run_epoch()
        >>> checkpoints.save(trial)
        >>> again = Checkpoints(files, "off-0000").read(lambda: Trial(config, prepare_data(config.data)))
        >>> again.history == trial.history
        True
    """

    def __init__(
        self,
        files: TrialFiles,
        trial: str,
        *,
        every_s: float | None = None,
        pause_epochs: Collection[int] = (),
        recorded_sha256: str | None = None,
        check_place: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin the first pause.

        Args:
            files: where state and model are kept.
            trial: name of the trial.
            every_s: seconds between two states; 0: each epoch writes its state at once; None: :func:`pause_after`.
            pause_epochs: epochs after which the trial may be paused, and continued by another worker at once.
            recorded_sha256: recorded checksum of the trial's model; None if none is recorded.
            check_place: raises an error if nothing must be written, because this node does not see the sweep's folder.
            clock: the time, seconds.
        """
        self.model_sha256: str | None = None
        self.warnings: list[str] = []
        self.stage: Stage | None = None
        self._files, self._trial = files, trial
        self._every_s, self._pause_epochs = every_s, frozenset(pause_epochs)
        self._recorded_sha256 = recorded_sha256
        self._check_place = check_place
        self._clock = clock
        self._writer: concurrent.futures.Executor | None = None
        self._writing: concurrent.futures.Future[float] | None = None
        self._began_s = clock()
        self._due_s = self._began_s + self._pause_s(0.0)
        self._begun_epoch = self._written_epoch = 0
        self._write_s: float | None = None

    def save(self, trial: Trial) -> None:
        """Write the state after an epoch if it is due, and the model after the last one.

        Raises:
            OSError: a file cannot be written; also for the state before this one.
        """
        has_diverged = trial.history[-1].diverged
        if trial.done or has_diverged or trial.epoch in self._pause_epochs or self._every_s == 0:
            self._check_place()
            self.wait()
            self._begin(trial)
            if trial.done and not has_diverged:
                self.save_model(trial)
            self.wait()
            return
        self.check_written()
        if self._writing is None and self._clock() >= self._due_s:
            self._begin(trial)

    def keep(self, trial: Trial) -> None:
        """Write the state of a trial that pauses, unless it is written already; the trial is between two epochs."""
        self.wait()
        if trial.epoch > self._written_epoch:
            self._begin(trial)
            self.wait()

    def check_written(self) -> None:
        """Check whether the writer has failed; it may still be at work.

        Raises:
            OSError: the last state could not be written.
        """
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the writer.

        Raises:
            OSError: the last state could not be written.
        """
        if self._writing is None:
            return
        try:
            self._write_s = self._writing.result()
        finally:
            if self._writing.done():  # a signal may end the waiting
                self._writing = None
        self._written_epoch = self._begun_epoch
        self._due_s = self._began_s + self._pause_s(self._write_s)

    def take_write_s(self) -> float | None:
        """Return the time that a state took to write, once per state; None: none was written since."""
        write_s, self._write_s = self._write_s, None
        return write_s

    def close(self, *, is_done: bool) -> None:
        """Wait for the writer, whose errors do not matter any more, and release the files."""
        if self._writing is not None:
            concurrent.futures.wait([self._writing])
        if self._writer is not None:
            self._writer.shutdown()
        self._files.close(is_done=is_done)

    def hurry(self, trial: Trial | None) -> None:
        """Send the last state at once: the node is about to end. Errors do not matter any more.

        Args:
            trial: the trial, if it is between two epochs: then its state is sent; None: the last copied one.
        """
        if self._writing is not None:  # not through the thread: a signal may have interrupted its caller
            concurrent.futures.wait([self._writing], timeout=HURRY_S)
        content = None
        if trial is not None and trial.epoch > self._written_epoch and not trial.done:
            content = encode_state(self._state(trial))[0]
        with contextlib.suppress(OSError):
            self._files.hurry(content)

    def _pause_s(self, write_s: float) -> float:
        return pause_after(write_s) if self._every_s is None else self._every_s

    def _state(self, trial: Trial) -> dict[str, Any]:
        return {**trial.state_dict(), "trial": self._trial}

    def _begin(self, trial: Trial) -> None:
        """Copy the state, and let the thread write the copy."""
        from trainables.staging import Stage  # torch, which must not be imported before the number of threads is set

        self._began_s = self._clock()
        if self.stage is None or self._writer is None:
            self.stage = Stage()
            self._writer = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="states")
        state = self.stage.copy(self._state(trial))
        self._begun_epoch = trial.epoch
        self._writing = self._writer.submit(self._write, state, is_done=trial.done)

    def _write(self, state: dict[str, Any], *, is_done: bool) -> float:
        """Write a copied state; return the time since it was due."""
        self._check_place()
        self._files.write_state(encode_state(state)[0], is_done=is_done)
        return self._clock() - self._began_s

    def read(self, new_trial: Callable[[], Trial]) -> Trial | None:
        """Return the trial in its saved state; None if there is no state, or none that can be used.

        Args:
            new_trial: returns the trial before its first epoch.

        Raises:
            UserError: the state was computed in another precision.
        """
        path = self._files.checkpoint
        try:
            self._files.fetch_state()
            state = read_state(path)
            name = state.pop("trial", self._trial)  # states of older versions have no name
            if name != self._trial:
                raise DamagedFile(path, f"it is the state of trial {name}")
            trial = new_trial()
            precision = state.get("precision", trial.precision)
            if precision != trial.precision:
                raise UserError(
                    f"the state in '{path}' was computed in {precision}, and this device computes in "
                    f"{trial.precision}: resume on the kind of device on which the trial began"
                )
            with named_damage(path):
                trial.load_state_dict(state)
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            self._set_aside(error)
            return None
        self._written_epoch = trial.epoch
        return trial

    def read_model(self, new_trial: Callable[[], Trial]) -> Trial | None:
        """Return the trial with the weights of its model, which can be measured; None if no model can be used.

        Args:
            new_trial: returns the trial before its first epoch.
        """
        path = self._files.weights
        try:
            self._files.fetch_model()
            sha256 = verify_state(path, expected_sha256=self._recorded_sha256)
            trial = new_trial()
            with named_damage(path):
                trial.load_model(read_state(path, expected_sha256=sha256))
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            self._set_aside(error)
            return None
        self.model_sha256 = sha256
        return trial

    def save_model(self, trial: Trial) -> str:
        """Write the model and return its checksum; the recorded model stays if it is intact: values belong to it."""
        from trainables.models.saved import model_state

        state, recorded = model_state(trial), self._recorded_sha256
        if recorded is None or not self._has_model(recorded):
            self.model_sha256 = write_state(self._files.weights, state)
            self._files.send_model()
            return self.model_sha256
        self.model_sha256 = recorded
        if sha256_of_state(state) != recorded:
            self.warnings.append(
                f"trial {self._trial}: its model was computed again and differs from the recorded one in "
                f"'{self._files.weights}', which is intact and kept"
            )
        return recorded

    def _has_model(self, sha256: str) -> bool:
        """Return whether the file of the model is intact and has this checksum."""
        try:
            self._files.fetch_model()
            verify_state(self._files.weights, expected_sha256=sha256)
        except (FileNotFoundError, DamagedFile):
            return False
        return True

    def _set_aside(self, error: DamagedFile) -> None:
        if error.path not in (self._files.checkpoint, self._files.weights):
            raise error  # decoded images: the state of the trial is intact
        name = self._files.set_aside(error)
        self.warnings.append(f"{error}; it is kept as '{name}', and trial {self._trial} begins at epoch 1 again")
