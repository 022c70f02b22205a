"""Epochs drawn ahead as a table, and captured steps, on a CPU: a stand-in calls the step instead of replaying it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables.test_trial import EVERYTHING, assert_same, without_times
from trainables import epoch_table, table_step, training
from trainables import trial as trial_module
from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.data.resident import ResidentImages
from trainables.device_paths import tensor_operations
from trainables.merging import merged
from trainables.mixing.draw import describe_why_not
from trainables.trial import Trial

SIDE_PX, PAD_PX, N_TRAIN, N_VAL, BATCH = 8, 4, 42, 12, 4
"""Ten whole batches per epoch, and one of two images."""

Body = Callable[[], None]


class StandIn:
    """Calls the step instead of replaying it; counts its calls."""

    def __init__(self) -> None:
        self.calls = {"warm_up": 0, "capture": 0, "replay": 0}
        self.error: RuntimeError | None = None
        self.repeats = 1
        self.usable = True

    def warm_up(self, body: Body) -> None:
        self.calls["warm_up"] += 1
        body()

    def capture(self, body: Body, generators: Sequence[torch.Generator]) -> Body:
        self.calls["capture"] += 1
        if self.error is not None:
            body()  # a part of the step may have run
            raise self.error

        def replay() -> None:
            self.calls["replay"] += 1
            for _ in range(self.repeats):
                body()

        return replay

    def is_usable(self) -> bool:
        return self.usable


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> TrialData:
    rng = np.random.default_rng(0)
    padded = rng.integers(0, 256, (N_TRAIN + N_VAL, SIDE_PX + 2 * PAD_PX, SIDE_PX + 2 * PAD_PX, 3), dtype=np.uint8)
    images = ImageSet(
        images=padded[:, PAD_PX:-PAD_PX, PAD_PX:-PAD_PX],
        labels=np.arange(len(padded)) % 3,
        classes=("a", "b", "c"),
        boxes=np.tile(np.array([1, 2, 6, 7], dtype=np.int32), (len(padded), 1)),
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    rows = np.arange(len(padded))
    return TrialData(images, padded, rows[:N_TRAIN], rows[N_TRAIN:], flip=True)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Trials of a CPU that train as those of a GPU with CUDA graphs do."""
    capture = StandIn()

    def why_by_batch(parts: training.TrainingParts, *, is_shared: bool) -> str:
        return describe_why_not(parts.config.mix, boxes="boxes" in parts.config.mix.needs)

    monkeypatch.setattr(training, "_why_by_batch", why_by_batch)
    monkeypatch.setattr(training, "open_capture", lambda device: capture)
    monkeypatch.setattr(table_step, "MIN_STEPS", 2)
    monkeypatch.setattr(
        trial_module, "hold_images", lambda padded, *_: ResidentImages(torch.from_numpy(padded.copy()), None)
    )
    with tensor_operations():
        yield capture


def config_of(**parts: Any) -> TrialConfig:
    base = {
        "data": {"batch_size": BATCH, "pad_px": PAD_PX},
        "model": {"name": "tiny", "width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": 3, "lr": 0.05},
        "mix": "cutmix",
    }
    return TrialConfig.model_validate(merged(base, parts))


def trained(config: TrialConfig, data: TrialData, epochs: int) -> Trial:
    trial = Trial(config, data)
    for _ in range(epochs):
        trial.run_epoch()
    return trial


def check_same(ours: Trial, theirs: Trial, *, but: tuple[str, ...] = ()) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert without_times(mine.pop("history")) == without_times(other.pop("history"))
    mine, other = ({name: value for name, value in state.items() if name not in but} for state in (mine, other))
    assert_same(mine, other)


MIXED_INSIDE = {"preset": "cutmix", "layer": [0, 1, 2], "apply": {"prob": 0.9, "schedule": {"ramp_up_end": 0.5}}}

CASES: dict[str, dict[str, Any]] = {
    "maps of the network": {
        "mix": {"preset": "puzzlemix_no_transport", "alternate": {"prob": 0.5, "gate": "sample", "mix": "snapmix"}}
    },
    "off": {"mix": "off"},
    "cutmix, bf16, EMA": {"model": {"precision": "bf16"}, "optimizer": {"ema_decay": 0.9}},
    "layers": {"mix": MIXED_INSIDE},
    "two policies": {"mix": {"preset": "cutmix", "alternate": {"gate": "sample", "mix": "mixup"}}},
    "random erasing": {"mix": "random_erasing"},
    "boxes of objects": {"mix": "objectmix"},
    "no momentum": {"optimizer": {"momentum": 0.0}},
    "AdamW": {"optimizer": {"name": "adamw", "lr": 0.001}},
    "stochastic depth": {"model": {"stochastic_depth": {"survival_prob": 0.5}}},
    "FGSM": {"adversarial": {"kind": "fgsm"}},
    "RandAugment": {"augment": {"policy": {"kind": "rand_augment"}}, "adversarial": {"kind": "fgsm"}},
    "AugMix": {"augment": {"policy": {"kind": "augmix", "all_ops": True}}},
    "crop, colours, boxes": {
        "mix": "objectmix",
        "augment": {"resized_crop": {}, "color_jitter": {"hue": 0.1}, "lighting": {}},
    },
}


@pytest.fixture(scope="module")
def by_batch(data: TrialData) -> dict[str, Trial]:
    """The same trials as a CPU trains them."""
    return {name: trained(config_of(**parts), data, 2) for name, parts in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_captured_steps_give_the_bits_of_batches_drawn_one_by_one(
    name: str, data: TrialData, by_batch: dict[str, Trial], stand_in: StandIn
) -> None:
    captured = trained(config_of(**CASES[name]), data, 2)
    assert (captured.step_kind, captured.step_reason, captured.step_warning) == ("graph", "", "")
    assert (by_batch[name].step_kind, by_batch[name].step_reason) == ("eager", "the device is a CPU")
    if captured.config.mix.layers == (0,):
        # once for all whole batches; the last batch is eager
        assert stand_in.calls == {"warm_up": 3, "capture": 1, "replay": 2 * (N_TRAIN // BATCH) + 2}
    check_same(captured, by_batch[name])


def test_dropblock_is_equal_in_captured_and_eager_steps(data: TrialData, stand_in: StandIn) -> None:
    """Its draws on a device are others than those of a CPU; its rate changes in each step."""
    graph = trained(config_of(**EVERYTHING), data, 2)
    eager = trained(config_of(**EVERYTHING, compute={"step": "eager"}), data, 2)
    assert (graph.step_kind, eager.step_kind, eager.step_reason) == ("graph", "eager", "compute.step is 'eager'")
    check_same(graph, eager, but=("config",))


def test_a_policy_that_looks_at_images_is_drawn_by_batch(data: TrialData, stand_in: StandIn) -> None:
    trial = Trial(config_of(mix="saliencymix"), data)
    assert (trial.step_kind, trial.step_reason) == ("eager", describe_why_not(trial.config.mix))
    assert "images" in trial.step_reason


@pytest.mark.parametrize("name", ["cutmix, bf16, EMA", "layers"])
def test_states_pass_between_both_ways(name: str, data: TrialData, stand_in: StandIn) -> None:
    config = config_of(**CASES[name])
    straight = trained(config, data, 3)
    half = trained(config, data, 1)
    again, used = Trial(config, data), trained(config, data, 2)
    pointers = [tensor.data_ptr() for tensor in used._step.tensors()]
    for trial in (again, used):
        trial.load_state_dict(half.state_dict())
        while not trial.done:
            trial.run_epoch()
        check_same(trial, straight)
    assert [tensor.data_ptr() for tensor in used._step.tensors()] == pointers  # captured steps see what was loaded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_why_by_batch", lambda *_, **__: "the device is a CPU")
        by_batch = Trial(config, data)
    by_batch.load_state_dict(half.state_dict())
    for _ in range(2):
        by_batch.run_epoch()
    check_same(by_batch, straight)


@pytest.mark.parametrize("part_bytes", [1, 1500])
def test_an_epoch_in_parts_is_the_same(
    part_bytes: int, data: TrialData, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(config_of(), data, 2)
    monkeypatch.setattr(training, "table_parts", lambda *args: epoch_table.table_parts(*args, part_bytes=part_bytes))
    check_same(trained(config_of(), data, 2), whole)


@pytest.mark.parametrize("fault", ["error", "other bits", "too few steps"])
def test_a_capture_that_fails_is_said_and_changes_nothing(
    fault: str, data: TrialData, by_batch: dict[str, Trial], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "error":
        stand_in.error = RuntimeError("operation not permitted when stream is capturing\nmore")
    elif fault == "other bits":
        stand_in.repeats = 2
    else:
        monkeypatch.setattr(table_step, "MIN_STEPS", 11)
    trial = trained(config_of(**CASES["cutmix, bf16, EMA"]), data, 2)
    expected = {
        "error": "the capture failed (operation not permitted when stream is capturing)",
        "other bits": "the captured step does not have the bits of the eager step",
        "too few steps": "only 10 steps of an epoch are alike, and a capture pays from 11 steps on",
    }
    assert (trial.step_kind, trial.step_reason) == ("eager", expected[fault])
    assert (expected[fault] in trial.step_warning) == (fault != "too few steps")
    check_same(trial, by_batch["cutmix, bf16, EMA"])


def test_a_device_that_is_lost_in_a_capture_is_no_fallback(data: TrialData, stand_in: StandIn) -> None:
    stand_in.error, stand_in.usable = RuntimeError("unspecified launch failure"), False
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        Trial(config_of(), data).run_epoch()
