"""Images in the memory of a device, and batches that are streamed to it. The device ``meta`` stands for a GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.config import TrialConfig
from trainables.data import evaluation_images as evaluation_module
from trainables.data import resident as resident_module
from trainables.data.batches import TrainBatches
from trainables.data.evaluation_images import evaluation_images
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.data.resident import ResidentImages, hold_images, release_images, room_bytes
from trainables.data.upload import computed_ahead
from trainables.trial import Trial

CPU, META, CUDA = torch.device("cpu"), torch.device("meta"), torch.device("cuda")
IMAGE_BYTES = 12 * 12 * 3


@pytest.fixture(autouse=True)
def _nothing_held() -> Iterator[None]:
    release_images()
    yield
    release_images()


def noise(count: int = 20, pad_px: int = 2) -> npt.NDArray[np.uint8]:
    images = np.random.default_rng(0).integers(256, size=(count, 8, 8, 3), dtype=np.uint8)
    return np.pad(images, ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0)))


# ---------------------------------------------------------------- one copy per process


def test_trials_of_a_process_share_one_copy() -> None:
    padded = noise()
    first = hold_images(padded, np.arange(15), META)
    assert first is not None
    assert first.rows is None  # more than half: all, so that other splits share them
    assert hold_images(padded, np.arange(5, 20), META) is first
    other = hold_images(noise(), np.arange(15), META)
    assert other is not first
    assert len(resident_module._process.held) == 1  # the previous data set was released
    assert hold_images(padded, np.arange(15), CPU) is None


def test_few_rows_are_held_alone() -> None:
    padded = noise()
    few = hold_images(padded, np.array([7, 3]), META)
    assert few is not None
    assert few.rows is not None
    assert few.rows.tolist() == [3, 7]
    assert hold_images(padded, np.array([3]), META) is few
    assert hold_images(padded, np.array([3, 4]), META) is not few


@pytest.mark.parametrize(("room", "n_held"), [(20, 20), (19, 15), (15, 15), (14, None)])
def test_the_room_decides(monkeypatch: pytest.MonkeyPatch, room: int, n_held: int | None) -> None:
    monkeypatch.setattr(resident_module, "room_bytes", lambda _: room * IMAGE_BYTES)
    held = hold_images(noise(), np.arange(15), META)
    assert (held and len(held.pixels)) == n_held


def test_memory_that_is_gone_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(resident_module, "_copied", full)
    assert hold_images(noise(), np.arange(15), META) is None


def test_room_is_half_of_what_is_free_and_of_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert room_bytes(META) == float("inf")
    facts = {"is_available": True, "mem_get_info": (60, 100), "memory_allocated": 10, "memory_reserved": 30}
    for name, value in (facts | {"get_per_process_memory_fraction": 1.0}).items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, value=value: value)
    assert room_bytes(CUDA) == 40  # half of 60 free and 20 reserved without use
    monkeypatch.setattr("torch.cuda.get_per_process_memory_fraction", lambda *_: 0.25)
    assert room_bytes(CUDA) == 7.5  # half of a quarter, less what is used


@pytest.mark.parametrize("rows", [None, np.array([1, 4, 5, 18])])
def test_a_copy_in_parts_has_all_pixels(monkeypatch: pytest.MonkeyPatch, rows: npt.NDArray[np.int64] | None) -> None:
    monkeypatch.setattr(resident_module, "_COPY_BYTES", 3 * IMAGE_BYTES)
    padded = noise()
    expected = padded if rows is None else padded[rows]
    np.testing.assert_array_equal(resident_module._copied(padded, rows, CPU).numpy(), expected)


# ---------------------------------------------------------------- the same values from every place


def trial_data() -> TrialData:
    padded = noise(60)
    images = np.ascontiguousarray(padded[:, 2:-2, 2:-2])
    mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)
    image_set = ImageSet(images, np.arange(60) % 3, ("a", "b", "c"), None, mean, std)
    return TrialData(image_set, padded, np.arange(7, 60), np.arange(7), flip=True)


def run_state(data: TrialData) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    values = {
        "data": {"batch_size": 16, "pad_px": 2},
        "model": {"width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": 2},
        "mix": "cutmix",
        "evaluation": {"batch_size": 3},
    }
    trial = Trial(TrialConfig.model_validate(values), data)
    while not trial.done:
        trial.run_epoch()
    times = {"seconds": 0.0, "images_per_s": 0.0}
    return [vars(result) | times for result in trial.history], trial.weights()


@pytest.mark.parametrize("place", ["resident", "streamed"])
def test_a_trial_computes_the_same_values(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = trial_data()
    history, weights = run_state(data)
    with monkeypatch.context() as patch:
        if place == "resident":
            held = ResidentImages(torch.from_numpy(data.padded.copy()), None)
            patch.setattr("trainables.trial.hold_images", lambda *_: held)
            patch.setattr(TrainBatches, "_cropped", None)
        else:
            patch.setattr(TrainBatches, "_made", lambda self, _, parts: self._streamed(parts))
            patch.setattr("trainables.trial.evaluation_images", lambda *args: evaluation_module._streamed(*args[:3]))
        history_there, weights_there = run_state(data)
    assert history_there == history
    assert all(torch.equal(weights_there[name], weights[name]) for name in weights)


def test_rows_that_are_not_held_are_read_elsewhere() -> None:
    padded = noise()
    images = padded[:, 2:-2, 2:-2]
    held = ResidentImages(torch.from_numpy(padded[:5] // 2), np.arange(5))
    for rows, expected in (([4, 0], images[[4, 0]] // 2), ([4, 6], images[[4, 6]])):
        (shown,) = evaluation_images(images, [np.array(rows)], CPU, held)
        np.testing.assert_array_equal(shown.numpy(), expected)


# ---------------------------------------------------------------- copies to the device


class Copies(TorchDispatchMode):
    """Whether each copy to the device blocks, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.blocking: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.device.type == "cuda" and args[0].device.type == "cpu":
            self.blocking.append(not kwargs.get("non_blocking"))
        return out


@pytest.mark.parametrize(("is_resident", "n_copies"), [(True, 1), (False, 5)])
def test_copies_to_the_device(is_resident: bool, n_copies: int) -> None:
    """An epoch of 5 batches, then 5 batches of measured images: one copy for all of them, or one for each."""
    padded, batches_of_rows = noise(), np.split(np.arange(20), 5)
    images = padded[:, 2:-2, 2:-2]
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        held = hold_images(padded, np.arange(20), CUDA) if is_resident else None
        batches = TrainBatches(
            padded, np.arange(20), np.arange(20), pad_px=2, batch_size=4, flip=True, device=CUDA, resident=held
        )
        copies.blocking.clear()
        rngs = {"order_rng": np.random.default_rng(0), "augment_rng": np.random.default_rng(1)}
        for batch in batches.epoch(**rngs):
            assert batch.images.device.type == batch.labels.device.type == "cuda"
            assert batch.images.shape == (4, 8, 8, 3)
        assert copies.blocking == [False] * n_copies
        shapes = {each.shape for each in evaluation_images(images, batches_of_rows, CUDA, held)}
        assert shapes == {(4, 8, 8, 3)}
        assert copies.blocking == [False] * 2 * n_copies


# ---------------------------------------------------------------- the thread that gathers


def test_results_are_computed_ahead_and_in_order() -> None:
    started: list[int] = []
    reached = threading.Semaphore(0)

    def slow(number: int) -> int:
        started.append(number)
        reached.release()
        return number

    results = computed_ahead(slow, range(10), n_ahead=2)
    assert next(results) == 0
    for _ in range(3):
        assert reached.acquire(timeout=20)
    assert started == [0, 1, 2]  # not more: the memory of the batches ahead is bounded
    assert list(results) == list(range(1, 10))


def test_an_error_comes_in_place_of_its_batch() -> None:
    def failing(number: int) -> float:
        return 1 / (number - 2)

    results = computed_ahead(failing, range(5))
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_iteration_that_is_given_up_leaves_no_thread() -> None:
    results = computed_ahead(str, range(5))
    next(results)
    (thread,) = [each for each in threading.enumerate() if each.name.startswith("batches")]
    del results
    thread.join(timeout=20)
    assert not thread.is_alive()
