"""States that are written by time, beside training: when, what of them a kill loses, and by whom."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.checkpoints import Checkpoints
from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.saved_state import encode_state, read_state
from trainables.staging import Stage
from trainables.trial import Trial
from trainables.trial_files import SharedFiles


class Clock:
    """A clock that stands still unless it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Counter:
    """A trial whose weights are the number of its epochs."""

    def __init__(self, *, max_epochs: int = 10_000, diverges_at: int = 0) -> None:
        self.weights = torch.zeros(3)
        self.history: list[Any] = []
        self._max_epochs, self._diverges_at = max_epochs, diverges_at

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def done(self) -> bool:
        return self.epoch >= self._max_epochs

    def run_epoch(self) -> None:
        self.weights += 1
        self.history.append(SimpleNamespace(diverged=self.epoch + 1 == self._diverges_at))

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "weights": self.weights}


class Disk(SharedFiles):
    """A folder in which a write takes time, waits, or fails."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder / "checkpoints" / "a.pt", folder / "models" / "a.pt")
        self.write_s, self.error, self.n_writing = 0.0, OSError(), 0
        self.epochs: list[int] = []
        self.losses_s: list[float] = []  # what a kill would lose when a state has just not been written yet
        self._since_s = 0.0
        self.may_write = threading.Event()
        self.may_write.set()
        self._clock = clock

    def write_state(self, content: memoryview, *, is_done: bool) -> None:
        self.n_writing += 1
        assert self.n_writing == 1
        assert self.may_write.wait(60)
        trained_until_s = self._clock.now_s
        self._clock.now_s += self.write_s
        self.losses_s.append(self._clock.now_s - self._since_s)
        self._since_s = trained_until_s
        if self.error.errno:
            raise self.error
        super().write_state(content, is_done=is_done)
        self.epochs.append(self.saved["epoch"])
        self.n_writing -= 1

    @property
    def saved(self) -> dict[str, Any]:
        return read_state(self.checkpoint)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk(tmp_path: Path, clock: Clock) -> Disk:
    return Disk(tmp_path, clock)


@pytest.fixture
def train(disk: Disk, clock: Clock) -> Callable[..., Checkpoints]:
    """Return what trains some epochs of a trial; a write begins and ends between two epochs if it may."""

    def run(
        trial: Any, *, epochs: int, epoch_s: float = 1.0, saving: Checkpoints | None = None, **law: Any
    ) -> Checkpoints:
        saving = saving or Checkpoints(disk, "a", clock=clock, **law)
        for _ in range(epochs):
            clock.now_s += epoch_s
            trial.run_epoch()
            saving.save(trial)
            if disk.may_write.is_set() and saving._writing is not None:
                saving.wait()
        return saving

    return run


@pytest.mark.parametrize(
    ("write_s", "law", "saved_after"),
    [
        (0.0, {}, [30, 60, 90, 120]),
        (1.5, {}, [30, 59, 88, 117]),  # the clock moves on while it is written
        (2.0, {}, [30, 68, 106]),  # at most 5 % of the time
        (60.0, {}, [30]),
        (2.0, {"every_s": 10.0}, [10, 18, 26, 34, 42, 50, 58, 66, 74, 82, 90, 98, 106, 114, 122]),
    ],
)
def test_states_are_written_by_time(
    train: Callable[..., Checkpoints], disk: Disk, write_s: float, law: dict[str, Any], saved_after: list[int]
) -> None:
    disk.write_s = write_s
    train(Counter(), epochs=125, **law)
    assert disk.epochs == saved_after


@pytest.mark.parametrize(
    ("epoch_s", "write_s", "pause_s"), [(0.2, 0.1, 30), (7.0, 2.0, 40), (50.0, 0.5, 30), (3.0, 60.0, 300)]
)
def test_a_kill_loses_at_most_a_pause_an_epoch_and_a_write(
    train: Callable[..., Checkpoints], disk: Disk, epoch_s: float, write_s: float, pause_s: float
) -> None:
    disk.write_s = write_s
    train(Counter(), epochs=400, epoch_s=epoch_s)
    assert pause_s <= max(disk.losses_s) <= pause_s + epoch_s + write_s


@pytest.mark.parametrize(
    ("trial", "law", "epochs"),
    [
        (Counter(max_epochs=9), {"pause_epochs": (2, 6)}, [2, 6, 9]),
        (Counter(diverges_at=4), {}, [4]),
        (Counter(), {"every_s": 0}, list(range(1, 10))),
    ],
)
def test_states_before_a_pause_and_at_the_end_are_written_at_once(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, trial: Counter, law: dict[str, Any], epochs: list[int]
) -> None:
    models: list[int] = []
    monkeypatch.setattr(Checkpoints, "save_model", lambda self, trial: models.append(trial.epoch))
    saving = Checkpoints(disk, "a", clock=Clock(), **law)
    for epoch in range(1, 10):
        trial.run_epoch()
        saving.save(trial)  # type: ignore[arg-type]
        assert epoch not in epochs or disk.saved["epoch"] == epoch
    assert disk.epochs == epochs
    assert models == [9] * trial.done


def test_a_trial_trains_on_while_its_state_is_written(train: Callable[..., Checkpoints], disk: Disk) -> None:
    """The copy is that of its epoch; no second state begins before the first one is written."""
    disk.may_write.clear()
    trial = Counter()
    saving = train(trial, epochs=100, pause_epochs=[101])
    assert saving._writing is not None
    assert disk.epochs == []
    at_rung = threading.Thread(target=train, args=[trial], kwargs={"epochs": 1, "saving": saving})
    at_rung.start()
    at_rung.join(0.05)
    assert at_rung.is_alive()  # it waits for both
    disk.may_write.set()
    at_rung.join()
    assert disk.epochs == [30, 101]
    assert disk.saved["weights"].tolist() == [101] * 3
    saving.close(is_done=False)


def test_the_copy_is_that_of_its_epoch_and_whole_when_the_trial_is_closed(
    train: Callable[..., Checkpoints], disk: Disk
) -> None:
    disk.may_write.clear()
    saving = train(Counter(), epochs=50)
    threading.Timer(0.02, disk.may_write.set).start()
    saving.close(is_done=False)
    assert (disk.saved["epoch"], disk.saved["weights"].tolist()) == (30, [30] * 3)


def test_a_trial_that_pauses_keeps_its_last_epoch(train: Callable[..., Checkpoints], disk: Disk) -> None:
    trial = Counter()
    saving = train(trial, epochs=35)
    saving.keep(trial)  # type: ignore[arg-type]
    saving.keep(trial)  # type: ignore[arg-type]
    assert disk.epochs == [30, 35]


@pytest.mark.parametrize("next_call", ["check_written", "save", "keep"])
def test_an_error_of_the_writer_appears_at_the_next_call(
    train: Callable[..., Checkpoints], disk: Disk, next_call: str
) -> None:
    disk.error = OSError(errno.ENOSPC, "No space left on device", "a.pt")
    trial = Counter()
    disk.may_write.clear()
    saving = train(trial, epochs=30)
    saving.check_written()  # it is still at work
    disk.may_write.set()
    saving._writing.exception()  # type: ignore[union-attr]
    with pytest.raises(OSError, match="No space left"):
        getattr(saving, next_call)(*() if next_call == "check_written" else (trial,))
    assert not disk.checkpoint.exists()
    disk.error, disk.n_writing = OSError(), 0
    saving.keep(trial)  # type: ignore[arg-type]
    assert disk.epochs == [30]


def test_an_error_of_the_writer_does_not_matter_after_the_trial(train: Callable[..., Checkpoints], disk: Disk) -> None:
    disk.error = OSError(errno.ENOSPC, "No space left on device", "a.pt")
    disk.may_write.clear()
    saving = train(Counter(), epochs=30)
    disk.may_write.set()
    saving.close(is_done=False)


def test_nothing_is_written_where_the_sweep_is_not_seen(train: Callable[..., Checkpoints], disk: Disk) -> None:
    def check() -> None:
        raise LookupError("not mounted")

    with pytest.raises(LookupError):
        train(Counter(), epochs=30, check_place=check)
    assert not disk.checkpoint.parent.exists()


def test_the_file_of_a_copy_equals_that_of_the_state() -> None:
    """Byte for byte: layouts, types, and torch's notes on a module; the trial may train on meanwhile."""
    values: dict[str, Any] = {
        "data": {"train_frac": 0.02, "batch_size": 32},
        "model": {"name": "tiny", "width": 0.25, "dropblock": {"block_px": 3}},
        "optimizer": {"max_epochs": 2, "ema_decay": 0.9},
        "mix": "cutmix",
    }
    config = TrialConfig.model_validate(values)
    trial = Trial(config, prepare_data(config.data))
    trial.run_epoch()
    expected = encode_state(trial.state_dict())[1]
    stage = Stage()
    copied = stage.copy(trial.state_dict())
    trial.run_epoch()
    assert encode_state(copied)[1] == expected
    assert encode_state(trial.state_dict())[1] != expected
    memory = stage._memory
    stage.copy(trial.state_dict())
    assert stage._memory is memory


def test_tensors_of_every_kind_are_copied() -> None:
    whole = torch.arange(24.0).view(2, 3, 4)
    tensors: list[Tensor] = [
        torch.tensor(3),
        torch.zeros(0, 2),
        whole[:, 1],
        whole.permute(2, 0, 1),
        torch.zeros(1).expand(5),
        torch.ones(3, dtype=torch.bool),
        torch.ones(5, dtype=torch.bfloat16),
    ]
    copied = Stage().copy({"all": tensors, "pair": (tensors[0], None)})
    assert copied["pair"] == (tensors[0], None)
    for tensor, copy in zip(tensors, copied["all"], strict=True):
        assert torch.equal(tensor, copy)
        assert tensor.dtype == copy.dtype
        assert tensor.data_ptr() != copy.data_ptr() or not tensor.numel()


def test_a_gpu_is_read_into_pinned_memory_and_awaited_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a GPU: the calls are noted."""
    calls: list[Any] = []

    class OnGpu(Tensor):
        is_cuda = True  # type: ignore[assignment]

    empty = torch.empty

    def noted_empty(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        calls.append(pin_memory)
        return empty(*size, **options)

    monkeypatch.setattr(torch, "empty", noted_empty)
    stream = SimpleNamespace(synchronize=lambda: calls.append("waited"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    tensors = [torch.ones(2).as_subclass(OnGpu), torch.zeros(3).as_subclass(OnGpu)]
    copied = Stage().copy({"all": tensors})
    assert calls == [True, "waited"]
    assert [tensor.tolist() for tensor in copied["all"]] == [[1, 1], [0, 0, 0]]
