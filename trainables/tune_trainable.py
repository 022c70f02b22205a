"""Ray Tune's interface to a trial: only it and ``tune_group.py`` import Ray in ``trainables``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from trainables.checkpoints import Checkpoints
from trainables.config import TrialConfig
from trainables.cores import set_threads
from trainables.data.places import Place, images_at, parse_places
from trainables.faults import TRIAL, BrokenGroup, fault_of
from trainables.gpu_memory import breaks_gpu, claim_memory, is_out_of_gpu_memory, release_memory
from trainables.object_store import StorageError
from trainables.trial_files import SharedFiles, TrialFiles, trial_files
from trainables.trial_log import TrialLog

if TYPE_CHECKING:
    from trainables.data.prepared import TrialData
    from trainables.trial import Trial


DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that all other trials would meet too: the sweep ends, and can be resumed after they are fixed."""


class CutMixTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after another in the same process, with one epoch per step.

    The state is saved by time, beside training: see :class:`trainables.checkpoints.Checkpoints`. So the state after a
    kill may be older than the records, or newer. Recorded epochs after the state are computed and reported once more,
    and the conductor compares them with the records. Epochs that were saved but not recorded are reported from the
    saved history. The state after the last epoch, and before a pause, is saved before the epoch is reported.

    A state that cannot be used is set aside, and the trial begins at epoch 1 again. The same holds if there is none.

    An error in the code of the trial is reported, not raised, because a retry would fail again. Only a lost worker
    reaches Ray as a failure and is retried. A trial that does not fit in the memory of its GPU is released, and reports
    ``out_of_memory``. A node that does not see the folder of the sweep is reported as unfit:
    nothing is written there, because it would be lost.
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
        """Run the next epoch and save it if that is due, or report it from the saved history if it is not recorded.

        If all epochs are recorded, report only what the trial knows about itself, its model and its test values.
        """
        _show_in_process_title(self._describe_work())
        with self._log.capture():
            report = self._step()
        if "out_of_memory" in report:
            from trainables.data.resident import release_images

            self._trial = None
            release_images()
            release_memory()  # only now: the frames of the error held tensors
        self._log.write_report(report)
        if "failed" in report or "model_sha256" in report:
            self._files.send_log()
        if (counts := self._files.take_counts()) is not None:
            report["requests"] = json.dumps(counts)
        return report

    def _describe_work(self) -> str:
        return self._name if self._failure else f"{self._name} after epoch {self._reported}"

    def _step(self) -> dict[str, Any]:
        try:
            if self._failure:
                return self._failed(self._failure)
            self._check_storage()
            self._checkpoints.check_written()
            trial = self._load()
            if self._reported >= self._last_epoch:
                has_diverged = bool(trial.history) and trial.history[-1].diverged
                completed = self._last_epoch == trial.config.optimizer.max_epochs and not has_diverged
                return self._report(trial, completed=completed)
            while trial.epoch <= self._reported:
                self._is_between_epochs = False
                trial.run_epoch()
                self._is_between_epochs = True
                self._warn_of_step(trial)
                self._checkpoints.save(trial)
            result = trial.history[self._reported]
            self._reported += 1
            completed = self._reported == trial.config.optimizer.max_epochs and not result.diverged
            return asdict(result) | self._report(trial, completed=completed)
        except _StorageLost as error:
            return {"trial": self._name, "unfit": str(error), **_place()}
        except OSError as error:
            if error.errno in DISK_FAULTS or isinstance(error, StorageError):
                return {"trial": self._name, "disk_fault": (error.errno, error.strerror, error.filename)}
            return self._failed(traceback.format_exc(limit=-3).strip(), fault_of(error))
        except Exception as error:
            if is_out_of_gpu_memory(error):
                why = traceback.format_exc(limit=-3).strip()
                return {"trial": self._name, "out_of_memory": why, **_place()}
            if _spoils_process(error):
                raise  # Tune replaces the process and resumes from the last saved epoch
            return self._failed(traceback.format_exc(limit=-3).strip(), fault_of(error))

    _trial: Trial | None = None
    _files: TrialFiles = SharedFiles(Path(), Path())
    _checkpoints = Checkpoints(_files, "")
    _is_between_epochs = True
    _hurries = False

    def cleanup(self) -> None:
        """Release the trial; a state that is being written is whole afterwards."""
        self._close()

    def keep_state(self) -> None:
        """Write the state of the last reported epoch: the trial pauses, and may continue on another worker."""
        if trial := self._trial_between_epochs:
            self._checkpoints.keep(trial)

    @property
    def _trial_between_epochs(self) -> Trial | None:
        return self._trial if self._is_between_epochs else None

    def _hurry_at_end(self) -> None:
        """Send the state of the trial first when this process is asked to end, for example because its node is drained.

        In the middle of an epoch only the last copied state can be sent.
        """
        if self._hurries or threading.current_thread() is not threading.main_thread():
            return
        self._hurries = True
        previous = signal.getsignal(signal.SIGTERM)

        def end(signum: int, frame: FrameType | None) -> None:
            self._checkpoints.hurry(self._trial_between_epochs)
            if callable(previous):
                previous(signum, frame)
            else:
                sys.exit(1)

        signal.signal(signal.SIGTERM, end)

    def _close(self) -> None:
        trial, self._trial, self._files = self._trial, None, SharedFiles(Path(), Path())
        with contextlib.suppress(StorageError):  # the lost epochs are computed again
            self._checkpoints.close(is_done=trial is not None and trial.done)
        self._checkpoints = Checkpoints(self._files, "")

    def __repr__(self) -> str:
        """Return what the dashboard shows beside the name of the actor; Ray asks once, so it names no trial."""
        return f"cutmix-sweep worker {os.getpid()}"

    def _begin(self, config: dict[str, Any]) -> None:
        self._close()
        self._name = str(config["trial"])
        self._failure = ""
        self._is_step_warned = False
        self._is_between_epochs = True
        self._log = TrialLog(None)
        try:
            self._files = trial_files(config)
            self._checkpoints = Checkpoints(
                self._files,
                self._name,
                every_s=config.get("checkpoint_s"),
                pause_epochs=config.get("pause_epochs", ()),
                recorded_sha256=str(config.get("model_sha256", "")) or None,
                check_place=self._check_storage,
            )
            self._log = TrialLog(self._files.log)
            self._config = TrialConfig.model_validate_json(config["config"])
            self._reported = int(config["recorded_epochs"])
            self._last_epoch = int(config["last_epoch"])
            self._device = str(config["device"])
            self._gpu_share, self._streams = float(config.get("gpus", 1.0)), bool(config.get("streams", False))
            self._tests = bool(config["test"])
            if not isinstance(self._files, SharedFiles):
                self._hurry_at_end()
            self._sign = Path(config["sign_of_sweep"]) if config.get("sign_of_sweep") else None
            self._places = parse_places(str(config.get("images", "{}")))
            self._log.write_line(f"begins, {self._reported} epochs recorded")
            print(f"trial {self._name} begins, {self._reported} epochs recorded: {config['config']}")  # noqa: T201
        except Exception:
            self._failure = traceback.format_exc(limit=-3).strip()

    def _load(self) -> Trial:
        """Return the trial from its checkpoint; if there is none, from its model if that is enough; otherwise new."""
        if self._trial is None:
            trial = self._checkpoints.read(self._new_trial)
            n_saved = 0 if trial is None else trial.epoch
            if self._reported >= self._last_epoch > n_saved:  # nothing has to be trained
                stopped = self._last_epoch < self._config.optimizer.max_epochs
                self._trial = (trial or self._new_trial()) if stopped else self._checkpoints.read_model(self._new_trial)
            if self._trial is None:
                self._trial = trial or self._new_trial()
                self._reported = min(self._reported, self._trial.epoch)
        return self._trial

    def _new_trial(self) -> Trial:
        from trainables.data.prepared import prepare_data

        if self._device.startswith("cuda"):
            from trainables.data.resident import set_streaming

            claim_memory(self._gpu_share)
            set_streaming(self._streams)
        with images_at(self._places):
            data = prepare_data(self._config.data)
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats()
        trial = self._trial_on(data)
        if self._device.startswith("cuda"):
            self._log.write_line(trial.image_place)
        return trial

    def _trial_on(self, data: TrialData) -> Trial:
        from trainables.trial import Trial

        return Trial(self._config, data, device=self._device)

    def _warn_of_step(self, trial: Trial) -> None:
        """Report once, and write to the trial's log, if its steps should run as a CUDA graph and do not."""
        if trial.step_warning and not self._is_step_warned:
            self._is_step_warned = True
            self._log.write_line(trial.step_warning)
            self._checkpoints.warnings.append(f"trial {self._name}: {trial.step_warning}")

    def _check_storage(self) -> None:
        """Check that this node sees the folder of the sweep.

        Raises:
            _StorageLost: it does not, for example because a mount is gone.
        """
        try:
            if self._sign is not None:
                self._sign.stat()
        except OSError as error:
            raise _StorageLost(
                f"it does not see '{self._sign}' ({error.strerror}): the folder of the sweep must be at the same path "
                "on every node"
            ) from None

    def _report(self, trial: Trial, *, completed: bool) -> dict[str, Any]:
        """Return what the trial knows about itself; if it has completed, also its model and its test values."""
        report = {"trial": self._name, **self._about(trial), **_place()}
        if completed:
            # a trial from a checkpoint of its last epoch: its model may be damaged
            report["model_sha256"] = self._checkpoints.model_sha256 or self._checkpoints.save_model(trial)
            if self._tests:
                report["test"] = _tested(trial, self._places)
        report |= self._cost()
        if warnings := self._checkpoints.warnings:
            report["warning"] = "; ".join(warnings)
            warnings.clear()
        return report

    def _cost(self) -> dict[str, float]:
        """Return the time of the last write of the state, and on a GPU the largest memory of this trial so far.

        They are shown as metrics and not recorded.
        """
        write_s = self._checkpoints.take_write_s()
        cost = {} if write_s is None else {"checkpoint_s": write_s}
        if self._device.startswith("cuda"):
            import torch

            cost["gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
        return cost

    def _about(self, trial: Trial) -> dict[str, Any]:
        return {
            **trial.dose.as_columns(),
            "n_train": trial.n_train,
            "n_val": trial.n_val,
            "device": trial.device_name,
            "precision": trial.precision,
            "step_kind": trial.step_kind,
            "threads": self._threads,
        }

    def _failed(self, why: str, fault: str = TRIAL) -> dict[str, Any]:
        return {"trial": self._name, "failed": why, "fault": fault, **_place()}


def _show_in_process_title(text: str) -> None:
    """Show which trial runs in the list of processes, and in the dashboard on the page of the node.

    Ray sets its own title again when the step has ended.
    """
    if ray.is_initialized():
        with contextlib.suppress(AttributeError):  # another version of Ray
            ray._raylet.setproctitle(f"ray::cutmix-sweep {text}")


class _StorageLost(Exception):
    """The folder of the sweep cannot be seen from this node."""


def _place() -> dict[str, str]:
    """Return the name of this node, and its id in the cluster, "" without a cluster."""
    node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    return {"node": socket.gethostname(), "node_id": node_id}


def _tested(trial: Trial, places: Mapping[str, Place]) -> str:
    """Measure a trial that has run all its epochs on the test images, on which no choice depends.

    Returns:
        A JSON text: Tune would flatten a mapping and join its keys to paths.
    """
    import numpy as np
    import torch

    from trainables.data.prepared import prepare_test

    with images_at(places):
        images = prepare_test(trial.config.data)
    count = len(images.labels)
    weights = "last" if trial.config.optimizer.ema_decay is None else "ema"
    metrics = trial.measure(images, np.arange(count))
    return json.dumps({"metrics": metrics, "n": count, "weights": weights, "library": f"torch {torch.__version__}"})


def _spoils_process(error: Exception) -> bool:
    """Return whether an error leaves the process unable to use its GPU, or the group that it trains in."""
    return isinstance(error, BrokenGroup) or breaks_gpu(error)
