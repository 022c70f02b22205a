"""Ray Tune's interface to a trial: the only file in ``trainables`` that imports Ray."""

from __future__ import annotations

import errno
import io
import json
import socket
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from trainables.config import TrialConfig
from trainables.cores import set_threads
from trainables.faults import TRIAL, fault_of
from trainables.whole_file import write_whole

if TYPE_CHECKING:
    from trainables.trial import Trial


DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that all other trials would meet too: the sweep ends, and can be resumed after they are fixed."""


class CutMixTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after another in the same process, with one epoch per step.

    The state is saved after each epoch, before the epoch is reported. So the state after a kill is at least as far as
    the records. Epochs that were saved but not recorded are reported from the saved history.

    An error in the code of the trial is reported, not raised, because a retry would fail again. Only a lost worker
    reaches Ray as a failure and is retried.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Set the number of threads before torch is imported, then begin the first trial."""
        self._threads = int(config["threads"])
        set_threads(self._threads)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process; only the open data of the previous trial is kept."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run and save the next epoch, or report it from the saved history if it was saved but not recorded."""
        try:
            if self._failure:
                return self._failed(self._failure)
            trial = self._load()
            while trial.epoch <= self._reported:
                trial.run_epoch()
                self._save(trial)
            result = trial.history[self._reported]
            self._reported += 1
            tested = {"test": _tested(trial)} if self._tests and trial.done and not result.diverged else {}
            return {"trial": self._name, **asdict(result), **self._about(trial), **tested}
        except OSError as error:
            if error.errno in DISK_FAULTS:
                return {"trial": self._name, "disk_fault": (error.errno, error.strerror, error.filename)}
            return self._failed(traceback.format_exc(limit=-3).strip(), fault_of(error))
        except Exception as error:
            if _spoils_process(error):
                raise  # Tune replaces the process and resumes from the last saved epoch
            return self._failed(traceback.format_exc(limit=-3).strip(), fault_of(error))

    _trial: Trial | None = None

    def cleanup(self) -> None:
        """Release the trial."""
        self._trial = None

    def __repr__(self) -> str:
        """Return the name of the actor in logs and in the dashboard; it keeps the name of its first trial."""
        return f"cutmix-sweep worker from {getattr(self, '_name', '?')}"

    def _begin(self, config: dict[str, Any]) -> None:
        self._name = str(config["trial"])
        self._trial = None
        self._failure = ""
        try:
            self._config = TrialConfig.model_validate_json(config["config"])
            self._reported = int(config["recorded_epochs"])
            self._checkpoint = Path(config["checkpoint_path"])
            self._device = str(config["device"])
            self._tests = bool(config["test"])
            self._weights = Path(config["weights_path"])
            print(f"trial {self._name} begins, {self._reported} epochs recorded: {config['config']}")  # noqa: T201
        except Exception:
            self._failure = traceback.format_exc(limit=-3).strip()

    def _load(self) -> Trial:
        trial = self._trial
        if trial is None:
            import torch

            from trainables.data.prepared import prepare_data
            from trainables.trial import Trial

            trial = self._trial = Trial(self._config, prepare_data(self._config.data), device=self._device)
            if self._checkpoint.exists():
                trial.load_state_dict(torch.load(self._checkpoint, map_location=self._device, weights_only=True))
        return trial

    def _save(self, trial: Trial) -> None:
        if trial.done and not trial.history[-1].diverged:
            from trainables.models.saved import model_state

            _write_whole(self._weights, model_state(trial))
        _write_whole(self._checkpoint, trial.state_dict())

    def _about(self, trial: Trial) -> dict[str, Any]:
        return {
            **trial.dose.as_columns(),
            "n_train": trial.n_train,
            "n_val": trial.n_val,
            "device": trial.device_name,
            "precision": trial.precision,
            "threads": self._threads,
            "node": socket.gethostname(),
        }

    def _failed(self, why: str, fault: str = TRIAL) -> dict[str, Any]:
        return {"trial": self._name, "failed": why, "fault": fault, "node": socket.gethostname()}


def _tested(trial: Trial) -> str:
    """Measure a trial that has run all its epochs on the test images, on which no choice depends.

    Returns:
        A JSON text: Tune would flatten a mapping and join its keys to paths.
    """
    import numpy as np
    import torch

    from trainables.data.prepared import prepare_test

    images = prepare_test(trial.config.data)
    count = len(images.labels)
    weights = "last" if trial.config.optimizer.ema_decay is None else "ema"
    metrics = trial.measure(images, np.arange(count))
    return json.dumps({"metrics": metrics, "n": count, "weights": weights, "library": f"torch {torch.__version__}"})


def _write_whole(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically: a reader sees the old state or the new state."""
    import torch

    buffer = io.BytesIO()  # torch's own file writer hides a full disk behind a RuntimeError
    torch.save(state, buffer)
    write_whole(path, buffer.getbuffer())


def _spoils_process(error: Exception) -> bool:
    """Return whether an error leaves the process unable to use its GPU; running out of GPU memory does not."""
    import torch

    return isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError)
