from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from trainables import training as training_module
from trainables.config import CosineSchedule, StepSchedule, TrialConfig, TriangularSchedule
from trainables.data.batches import TrainBatch, TrainBatches
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData, prepare_data
from trainables.epoch_result import EpochResult
from trainables.merging import merged
from trainables.mixing.batch_view import BatchView
from trainables.mixing.draw import MixDrawer
from trainables.mixing.pastes import MixDraw
from trainables.mixing.presets import PRESETS
from trainables.models import dropblock
from trainables.models.build import build_model
from trainables.optimizer import lr_factor
from trainables.trial import Trial

SIDE_PX, PAD_PX, N_TRAIN, N_VAL = 12, 2, 40, 20
STEPS = 3
"""Steps an epoch: 40 images in batches of 16, the last one odd."""

TIMES = ("seconds", "images_per_s")

EVERYTHING: dict[str, Any] = {
    "mix": {
        "preset": "cutmix",
        "layer": [0, 1, 2],
        "apply": {"prob": 0.9, "schedule": {"ramp_up_end": 0.5}},
        "alternate": {"gate": "sample", "mix": {"preset": "mixup", "layer": [0, 1, 2]}},
    },
    "model": {"dropblock": {"prob": 0.3, "block_px": 3}},
}
"""Two policies that alternate, at layers drawn batch by batch, under a schedule, in a network with DropBlock."""

CASES: dict[str, dict[str, Any]] = {
    "mixup-fp32": {"mix": "mixup"},
    "mixup-bf16": {"mix": "mixup", "model": {"precision": "bf16"}},
    "cutmix-fp32": {"mix": "cutmix"},
    "shakedrop-adamw-bf16": {
        "mix": "cutmix",
        "model": {"precision": "bf16", "shakedrop": {}},
        "optimizer": {"name": "adamw", "lr": 0.001},
    },
    "erasing-ema": {"mix": "random_erasing", "optimizer": {"ema_decay": 0.9}},
    "cutmix-pgd-fp32": {"mix": "cutmix", "adversarial": {"kind": "pgd", "steps": 2}},
    "augmented-fp32": {
        "mix": "cutmix",
        "augment": {"policy": {"kind": "trivial_augment"}, "color_jitter": {}, "lighting": {}},
    },
    "fgsm-bf16": {"adversarial": {"kind": "fgsm"}, "model": {"precision": "bf16"}},
    "everything-fp32": EVERYTHING,
    "everything-bf16-ema": merged(EVERYTHING, {"model": {"precision": "bf16"}, "optimizer": {"ema_decay": 0.9}}),
}

# argv: folder with data.npz and, for each case, its configuration and state after half of the epochs
CONTINUE = """
import sys
from pathlib import Path
import numpy as np
import torch
from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.data.prepared import TrialData
from trainables.trial import Trial

torch.set_num_threads(1)
folder = Path(sys.argv[1])
arrays = dict(np.load(folder / "data.npz"))
shared = {name: arrays.pop(name) for name in ("padded", "train_rows", "val_rows")}
data = TrialData(images=ImageSet(classes=("a", "b", "c"), boxes=None, **arrays), flip=True, **shared)
for path in sorted(folder.glob("*.json")):
    trial = Trial(TrialConfig.model_validate_json(path.read_text()), data)
    trial.load_state_dict(torch.load(path.with_suffix(".half"), weights_only=True))
    while not trial.done:
        trial.run_epoch()
    torch.save(trial.state_dict(), path.with_suffix(".whole"))
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> TrialData:
    """Three classes that differ in colour, with enough noise to be got wrong."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(N_TRAIN + N_VAL) % 3)
    colours = np.array([[150, 110, 110], [110, 150, 110], [110, 110, 150]])
    noise = rng.normal(scale=60, size=(len(labels), SIDE_PX, SIDE_PX, 3))
    images = (colours[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8)
    return TrialData(
        images=ImageSet(
            images=images,
            labels=labels,
            classes=("a", "b", "c"),
            boxes=np.tile(np.array([2, 3, 9, 8], dtype=np.int32), (len(labels), 1)),
            mean=np.full(3, 0.48, np.float32),
            std=np.full(3, 0.24, np.float32),
        ),
        padded=np.pad(images, ((0, 0), (PAD_PX, PAD_PX), (PAD_PX, PAD_PX), (0, 0))),
        train_rows=np.arange(N_TRAIN),
        val_rows=np.arange(N_TRAIN, N_TRAIN + N_VAL),
        flip=True,
    )


def config_of(**parts: Any) -> TrialConfig:
    base = {
        "data": {"batch_size": 16, "pad_px": PAD_PX},
        "model": {"name": "tiny", "width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": 6, "lr": 0.05},
    }
    return TrialConfig.model_validate(merged(base, parts))


def trained(config: TrialConfig, data: TrialData, epochs: int) -> Trial:
    trial = Trial(config, data)
    for _ in range(epochs):
        trial.run_epoch()
    return trial


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


def assert_same(ours: Any, theirs: Any, path: str = "state") -> None:
    """Equal to the bit, whatever is nested; the times an epoch took apart."""
    assert type(ours) is type(theirs), path
    if isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype, path
        assert torch.equal(ours, theirs), path
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), path
        for key in ours.keys() - set(TIMES):
            assert_same(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), path
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same(*pair, f"{path}.{index}")
    else:
        assert ours == theirs, path


def differ(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(ours[name], theirs[name]) for name in ours)


# ---------------------------------------------------------------- continuation


@pytest.fixture(scope="module")
def continued(data: TrialData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """States of all cases after three epochs here and three in another process."""
    folder = tmp_path_factory.mktemp("continued")
    images = data.images
    np.savez(
        folder / "data.npz",
        images=images.images,
        labels=images.labels,
        mean=images.mean,
        std=images.std,
        padded=data.padded,
        train_rows=data.train_rows,
        val_rows=data.val_rows,
    )
    for name, parts in CASES.items():
        config = config_of(**parts)
        (folder / f"{name}.json").write_text(config.model_dump_json())
        torch.save(trained(config, data, 3).state_dict(), folder / f"{name}.half")
    subprocess.run([sys.executable, "-c", CONTINUE, str(folder)], check=True, timeout=240)
    return {name: torch.load(folder / f"{name}.whole", weights_only=True) for name in CASES}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_continued_run_equals_the_uninterrupted_one(
    name: str, data: TrialData, continued: dict[str, dict[str, Any]]
) -> None:
    straight = trained(config_of(**CASES[name]), data, 6)
    state = straight.state_dict()
    assert_same(continued[name], state)
    assert state["step"] == 6 * STEPS
    assert [row["epoch"] for row in state["history"]] == [1, 2, 3, 4, 5, 6]
    assert (state["ema"] is not None) == ("ema" in name)
    assert (state["dropblock"] is not None) == ("everything" in name)
    assert ("branches" in state) == ("shakedrop" in name)
    assert straight.done


def test_a_state_taken_up_in_memory_is_a_copy(data: TrialData) -> None:
    config = config_of(**EVERYTHING, optimizer={"ema_decay": 0.9})
    first, second = trained(config, data, 2), Trial(config, data)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        first.run_epoch()
    for _ in range(2):
        second.run_epoch()
    assert_same(second.state_dict(), first.state_dict())


@pytest.mark.parametrize("parts", [{"mix": "cutmix"}, EVERYTHING], ids=["cutmix", "everything"])
def test_the_same_seed_gives_the_same_run(parts: dict[str, Any], data: TrialData) -> None:
    config = config_of(**parts)
    torch.manual_seed(1)
    first = trained(config, data, 2)
    torch.manual_seed(2)
    again = trained(config, data, 2)
    assert_same(again.state_dict(), first.state_dict())
    other = trained(config_of(**parts, seed=1), data, 2)
    assert differ(other.weights(), first.weights())
    assert other.history[0].train_loss != first.history[0].train_loss


def test_global_generators_are_left_alone(data: TrialData) -> None:
    legacy = np.random.mtrand._rand
    numpy_before, torch_before = legacy.get_state(legacy=False), torch.get_rng_state()
    for parts in ({"mix": "random_erasing"}, EVERYTHING):
        trained(config_of(**parts), data, 2)
    np.testing.assert_equal(legacy.get_state(legacy=False), numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


# ---------------------------------------------------------------- arms are paired


def test_arms_of_a_seed_share_weights_and_data_order(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[list[torch.Tensor]] = []
    plain = TrainBatches.epoch

    def recording(self: TrainBatches, **rngs: np.random.Generator) -> Iterator[TrainBatch]:
        for batch in plain(self, **rngs):
            fed[-1] += [batch.images.clone(), batch.labels.clone()]
            yield batch

    monkeypatch.setattr(TrainBatches, "epoch", recording)
    starts = []
    for preset in PRESETS:
        fed.append([])
        trial = Trial(config_of(mix=preset, optimizer={"lr": 0.01}), data)
        starts.append({name: value.clone() for name, value in trial.weights().items()})
        for _ in range(2):
            trial.run_epoch()
    assert len(fed[0]) == 2 * 2 * STEPS
    for start, batches in zip(starts[1:], fed[1:], strict=True):
        assert_same(start, starts[0])
        assert_same(batches, fed[0])
    assert not torch.equal(fed[0][0], fed[0][2 * STEPS])  # another order in the second epoch


@pytest.mark.parametrize("gate", ["sample", "batch"])
def test_prob_zero_trains_as_without_mixing(gate: str, data: TrialData) -> None:
    off = trained(config_of(mix="off"), data, 2)
    never = trained(config_of(mix={"preset": "cutmix", "apply": {"prob": 0.0, "gate": gate}}), data, 2)
    assert_same(never.state_dict() | {"config": ""}, off.state_dict() | {"config": ""})
    assert differ(trained(config_of(mix="cutmix"), data, 2).weights(), off.weights())


def test_dropblock_shares_weights_and_data_order_and_draws_apart(data: TrialData) -> None:
    without = Trial(config_of(mix="cutmix"), data)
    dropping = Trial(config_of(mix="cutmix", model={"dropblock": {"schedule": {}}}), data)
    assert_same(dropping.weights(), without.weights())
    assert dropping.weights().keys() == without.weights().keys()
    without.run_epoch()
    dropping.run_epoch()
    assert_same(dropping.state_dict()["generators"], without.state_dict()["generators"])
    assert differ(dropping.weights(), without.weights())


def test_branches_that_always_survive_train_as_without(data: TrialData) -> None:
    without = trained(config_of(mix="cutmix"), data, 2).state_dict()
    kept = trained(config_of(mix="cutmix", model={"stochastic_depth": {"survival_prob": 1.0}}), data, 2).state_dict()
    assert_same(kept | {"config": "", "branches": None}, without | {"config": "", "branches": None})
    scaled = trained(config_of(mix="cutmix", model={"stochastic_depth": {}}), data, 2).state_dict()
    assert_same(scaled["generators"], without["generators"])
    assert differ(scaled["model"], without["model"])


def test_dropblock_of_probability_zero_trains_as_without(data: TrialData) -> None:
    without = trained(config_of(mix="cutmix"), data, 2).state_dict()
    never = trained(config_of(mix="cutmix", model={"dropblock": {"prob": 0.0}}), data, 2).state_dict()
    assert_same(never | {"config": "", "dropblock": None}, without | {"config": ""})
    untouched = Trial(config_of(model={"dropblock": {}}), data).state_dict()
    assert torch.equal(never["dropblock"], untouched["dropblock"])  # nothing was drawn


# ---------------------------------------------------------------- what an epoch reports


@pytest.mark.parametrize(
    ("mix", "prob", "pasted"),
    [
        ("off", 0.0, 0.0),
        ({"size": {"kind": "fixed", "frac": 0.25}, "position": {"kind": "inside"}}, 1.0, 0.25),
        ({"preset": "mixup", "size": {"kind": "fixed", "frac": 0.25}}, 1.0, 0.25),
        ({"preset": "cutout", "position": {"kind": "inside"}}, 1.0, 0.25),
    ],
    ids=["off", "box", "mixup", "cutout"],
)
def test_the_dose_is_reported(mix: Any, prob: float, pasted: float, data: TrialData) -> None:
    result = Trial(config_of(mix=mix), data).run_epoch()
    assert result.effective_prob == prob
    assert result.pasted_frac == pytest.approx(pasted, abs=1e-6)


@pytest.mark.parametrize("gate", ["sample", "batch"])
def test_the_dose_counts_samples_that_were_not_mixed(gate: str, data: TrialData) -> None:
    mix = {
        "size": {"kind": "fixed", "frac": 0.25},
        "position": {"kind": "inside"},
        "apply": {"prob": 0.5, "gate": gate},
    }
    results = trained(config_of(mix=mix, data={"batch_size": 1}, optimizer={"lr": 1e-3}), data, 6).history
    for result in results:
        assert result.pasted_frac == pytest.approx(0.25 * result.effective_prob, abs=1e-6)
    assert np.mean([result.effective_prob for result in results]) == pytest.approx(0.5, abs=0.13)  # SD 0.03


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"ramp_up_start": 0.5, "ramp_up_end": 0.5}, [0, 0, 0, 1, 1, 1]),
        ({"ramp_down_start": 0.49, "ramp_down_end": 0.49}, [1, 1, 1, 0, 0, 0]),
        # on from step 5 of 18, the last one of the second epoch with 8 of its 40 images, up to and with step 12
        (
            {"ramp_up_start": 0.27, "ramp_up_end": 0.27, "ramp_down_start": 0.7, "ramp_down_end": 0.7},
            [0, 0.2, 1, 1, 0.4, 0],
        ),
    ],
    ids=["second half", "first half", "middle"],
)
@pytest.mark.parametrize("layer", [0, [0, 2]])
def test_the_dose_follows_the_schedule(
    schedule: dict[str, float], expected: list[float], layer: int | list[int], data: TrialData
) -> None:
    mix = {"preset": "mixup", "size": {"kind": "fixed", "frac": 0.25}, "layer": layer, "apply": {"schedule": schedule}}
    history = trained(config_of(mix=mix), data, 6).history
    for result, share in zip(history, expected, strict=True):
        assert result.effective_prob == pytest.approx(share, abs=1e-9)
        assert result.pasted_frac == pytest.approx(0.25 * share, abs=1e-6)


def test_a_ramp_is_reported(data: TrialData) -> None:
    mix = {"preset": "cutmix", "apply": {"prob": 1.0, "schedule": {"ramp_up_end": 1.0}}}
    runs = [
        [result.effective_prob for result in trained(config_of(mix=mix, seed=seed), data, 6).history]
        for seed in range(12)
    ]
    # t of the epochs' steps, weighted by their 16, 16 and 8 images
    expected = [(16 * step + 16 * (step + 1) + 8 * (step + 2)) / 40 / 18 for step in range(0, 18, 3)]
    np.testing.assert_allclose(np.mean(runs, axis=0), expected, atol=0.08)  # SD up to 0.02


@pytest.fixture
def probabilities(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Probabilities that trials mix and drop blocks with, step by step."""
    seen: dict[str, list[float]] = {"mixing": [], "dropping": []}
    draw, drop = MixDrawer.draw, dropblock.drop_blocks

    def drawing(drawer: MixDrawer, batch: BatchView, t: float) -> MixDraw:
        seen["mixing"].append(drawer.mix.apply.prob_at(t))
        return draw(drawer, batch, t)

    def dropping(maps: torch.Tensor, *, prob: float, **kwargs: Any) -> torch.Tensor:
        seen["dropping"].append(prob)
        return drop(maps, prob=prob, **kwargs)

    monkeypatch.setattr(MixDrawer, "draw", drawing)
    monkeypatch.setattr(dropblock, "drop_blocks", dropping)
    return seen


def test_schedules_know_planned_steps_only(data: TrialData, probabilities: dict[str, list[float]]) -> None:
    config = config_of(**merged(EVERYTHING, {"mix": {"apply": {"schedule": {"ramp_up_end": 1.0}}}}))
    trained(config, data, 2)
    stopped = {name: list(values) for name, values in probabilities.items()}
    planned = [number / (6 * STEPS) for number in range(6 * STEPS)]
    assert stopped["mixing"] == pytest.approx([0.9 * t for t in planned[: 2 * STEPS]])
    assert stopped["dropping"] == pytest.approx([0.3 * t for t in planned[: 2 * STEPS] for _ in range(2)])

    for values in probabilities.values():
        values.clear()
    first, second = trained(config, data, 4), Trial(config, data)
    second.load_state_dict(first.state_dict())
    while not second.done:
        second.run_epoch()
    resumed = {name: list(values) for name, values in probabilities.items()}
    for values in probabilities.values():
        values.clear()
    trained(config, data, 6)
    assert resumed == probabilities
    assert probabilities["mixing"][: 2 * STEPS] == stopped["mixing"]
    assert probabilities["mixing"] == pytest.approx([0.9 * t for t in planned])


def test_what_an_epoch_reports(data: TrialData) -> None:
    trial = trained(config_of(mix="cutmix"), data, 2)
    assert (trial.epoch, trial.done, trial.n_train, trial.n_val) == (2, False, N_TRAIN, N_VAL)
    assert trial.device_name == "cpu"
    assert trial.precision == "fp32"
    assert [result.epoch for result in trial.history] == [1, 2]
    for result in trial.history:
        assert not result.diverged
        assert result.seconds > 0
        assert result.images_per_s > N_TRAIN / result.seconds
        for share in (result.val_top1_error, result.val_top5_error, result.val_ece):
            assert 0 <= share <= 1
        assert result.val_top5_error == 0  # of three classes
    json.dumps(asdict(trial.history[0]), allow_nan=False)


def test_divergence_is_a_result(data: TrialData) -> None:
    trial = trained(config_of(mix="cutmix", optimizer={"lr": 1e6, "ema_decay": 0.5}), data, 2)
    assert trial.history[-1].diverged
    assert not math.isfinite(trial.history[-1].train_loss)
    assert 0 < trial.history[-1].val_top1_error <= 1
    finite = EpochResult(**asdict(trained(config_of(), data, 1).history[0]))
    assert not finite.diverged


@pytest.mark.parametrize("preset", ["off", "cutmix"])
def test_the_loss_falls_on_digits(preset: str) -> None:
    config = config_of(
        data={"train_frac": 0.2, "batch_size": 16, "pad_px": 4},
        model={"width": 0.5},
        optimizer={"max_epochs": 5},
        mix=preset,
    )
    trial = trained(config, prepare_data(config.data), 5)
    losses = [result.train_loss for result in trial.history]
    assert losses[-1] < losses[0] - 0.02
    assert trial.history[-1].val_nll < math.log(10)


# ---------------------------------------------------------------- from a backbone


def backbone_of(n_classes: int, **model: Any) -> dict[str, torch.Tensor]:
    """Weights of a network that was trained on other classes, its batch statistics among them."""
    net = build_model(config_of(model=model).model, n_classes=n_classes, height_px=12, width_px=12, seed=99)
    net(torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    return net.state_dict()


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_all_but_the_classifier_is_taken_over(ema_decay: float | None, data: TrialData) -> None:
    config = config_of(optimizer={"ema_decay": ema_decay})
    given, drawn, trial = backbone_of(7), Trial(config, data).weights(), Trial(config, data)
    trial.start_from(given)
    for state in (trial.weights(), trial.last_weights()):  # the moving average begins there, too
        assert state.keys() == drawn.keys()
        for name, value in state.items():
            assert torch.equal(value, drawn[name] if name.startswith("classifier.") else given[name]), name
    assert (trial.epoch, trial.state_dict()["step"]) == (0, 0)


@pytest.mark.parametrize("parts", [{"mix": "cutmix", "optimizer": {"ema_decay": 0.5}}, EVERYTHING])
def test_runs_from_the_same_backbone_are_the_same(parts: dict[str, Any], data: TrialData) -> None:
    given = backbone_of(5)
    before = copy.deepcopy(given)
    trials = [Trial(config_of(**parts), data) for _ in range(2)]
    for trial in trials:
        trial.start_from(given)
        for _ in range(2):
            trial.run_epoch()
    first, again = trials
    assert_same(again.state_dict(), first.state_dict())
    assert_same(given, before)  # training writes to a copy
    assert differ(first.weights(), trained(config_of(**parts), data, 2).weights())
    resumed = Trial(config_of(**parts), data)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    for trial in (first, resumed):
        trial.run_epoch()
    assert_same(resumed.state_dict(), first.state_dict())


def test_backbones_that_do_not_fit_are_refused(data: TrialData) -> None:
    trial = Trial(config_of(), data)
    before = copy.deepcopy(trial.last_weights())
    with pytest.raises(ValueError, match=r"do not match tiny of width 0\.25: .* is \(8,.*expected \(4,"):
        trial.start_from(backbone_of(3, width=0.5))
    with pytest.raises(ValueError, match=r"do not match tiny of width 0\.25: 'stages\.0\.1.*expected absent"):
        trial.start_from(backbone_of(3, name="cifar_resnet14"))
    with pytest.raises(ValueError, match=r"'stem\.0\.weight' is absent, expected"):
        trial.start_from({name: value for name, value in before.items() if name != "stem.0.weight"})
    assert_same(trial.last_weights(), before)
    trial.run_epoch()
    with pytest.raises(ValueError, match="before its first epoch, not after 1"):
        trial.start_from(backbone_of(3))


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize("ema_decay", [None, 0.5])
@pytest.mark.parametrize("parts", [{"mix": {"preset": "cutmix", "apply": {"prob": 1.0}}}, EVERYTHING])
def test_validation_changes_nothing(
    parts: dict[str, Any], ema_decay: float | None, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trained(config_of(**parts, optimizer={"ema_decay": ema_decay}), data, 2)
    last = trial.history[-1]
    before = copy.deepcopy(trial.state_dict())
    for module, name in ((MixDrawer, "draw"), (training_module, "draw_layer"), (dropblock, "drop_blocks")):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: pytest.fail("changed in validation"))
    first, second = trial.validate(), trial.validate()
    assert first == second
    assert {f"val_{name}": value for name, value in first.items()}.items() <= asdict(last).items()
    assert_same(trial.state_dict(), before)


def test_validation_sees_the_plain_network(data: TrialData) -> None:
    """Of a network that would be of no use with mixing or dropping on."""
    trial = trained(config_of(**merged(EVERYTHING, {"model": {"dropblock": {"prob": 0.9, "schedule": {}}}})), data, 2)
    plain = Trial(config_of(), data)
    plain._net.load_state_dict(trial.weights())
    assert trial.validate() == plain.validate()


@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_the_evaluation_batch_changes_no_metric(batch_size: int, data: TrialData) -> None:
    whole = trained(config_of(mix="mixup"), data, 2)
    parts = Trial(config_of(mix="mixup", evaluation={"batch_size": batch_size}), data)
    parts.load_state_dict(whole.state_dict() | {"config": parts.config.model_dump_json()})
    assert parts.validate() == pytest.approx(whole.validate(), rel=1e-4, abs=1e-6)


def test_a_perfect_and_a_hopeless_network_are_told_apart(data: TrialData) -> None:
    """The labels that belong to the images are those compared with."""
    trial = trained(config_of(optimizer={"max_epochs": 12}), data, 12)
    assert trial.validate()["top1_error"] < 0.2
    swapped = np.array(data.images.labels)
    swapped[data.val_rows] = (swapped[data.val_rows] + 1) % 3
    images = data.images
    others = ImageSet(images.images, swapped, images.classes, None, images.mean, images.std)
    wrong = Trial(trial.config, TrialData(others, data.padded, data.train_rows, data.val_rows, flip=True))
    wrong.load_state_dict(trial.state_dict())
    assert wrong.validate()["top1_error"] > 0.8


# ---------------------------------------------------------------- the step


@pytest.mark.parametrize(
    "schedule",
    [CosineSchedule(warmup_frac=0.2), TriangularSchedule(), StepSchedule()],
    ids=lambda schedule: schedule.kind,
)
def test_the_rate_follows_the_planned_steps(
    schedule: CosineSchedule, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    step = torch.optim.SGD.step

    def recording(self: torch.optim.SGD, *args: Any) -> Any:
        used.append([group["lr"] for group in self.param_groups])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", recording)
    config = config_of(optimizer={"schedule": schedule.model_dump()})
    trial = trained(config, data, 4)  # stopped early: the plan is six
    expected = [0.05 * lr_factor(schedule, number / (6 * STEPS)) for number in range(4 * STEPS)]
    assert used == [[lr, lr] for lr in expected]
    assert [result.lr for result in trial.history] == expected[STEPS - 1 :: STEPS]


def test_smoothing_reaches_the_loss(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = torch.nn.functional.cross_entropy

    def recording(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(targets)
        return plain(logits, targets)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", recording)
    Trial(config_of(mix={"preset": "cutmix", "label": {"smoothing": 0.3}}), data).run_epoch()
    targets = torch.cat(seen)
    assert targets.shape == (N_TRAIN, 3)
    assert targets.min().item() == pytest.approx(0.1)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(N_TRAIN))


def test_the_loss_is_the_mean_over_samples(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = []
    plain = torch.nn.functional.cross_entropy

    def recording(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        sums.append(-(targets * logits.detach().log_softmax(dim=1)).sum().item())
        return plain(logits, targets)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", recording)
    result = Trial(config_of(mix="cutmix"), data).run_epoch()
    assert result.train_loss == pytest.approx(sum(sums) / N_TRAIN, rel=1e-5)


def test_a_state_of_another_configuration_is_refused(data: TrialData) -> None:
    state = trained(config_of(mix="mixup"), data, 1).state_dict()
    with pytest.raises(ValueError, match="another config"):
        Trial(config_of(mix="cutmix"), data).load_state_dict(state)
    with pytest.raises(ValueError, match="another config"):
        Trial(config_of(mix="mixup", model={"dropblock": {}}), data).load_state_dict(state)
    with pytest.raises(ValueError, match="another precision"):
        Trial(config_of(mix="mixup"), data).load_state_dict(state | {"precision": "fp16"})


def test_a_state_of_an_older_program_names_keys_as_it_did(data: TrialData) -> None:
    trial = trained(config_of(mix="cutmix"), data, 1)
    state = trial.state_dict()
    old = {"granularity": "share", "alternate": "other", "ramp_up_start": "on0", "ramp_down_end": "off1"}
    for new, name in old.items():
        assert f'"{new}"' in state["config"]
        state["config"] = state["config"].replace(f'"{new}"', f'"{name}"')
    resumed = Trial(config_of(mix="cutmix"), data)
    resumed.load_state_dict(state)
    assert resumed.epoch == 1


def test_the_moving_average_is_what_is_evaluated(data: TrialData) -> None:
    config = config_of(data={"batch_size": N_TRAIN}, optimizer={"ema_decay": 0.5, "lr": 0.01})
    trial = Trial(config, data)
    expected: dict[str, torch.Tensor] = {}
    for step in range(3):  # one step an epoch
        decay = min(0.5, (1 + step) / (10 + step))
        trial.run_epoch()
        for name, value in trial.state_dict()["model"].items():
            if value.is_floating_point():
                expected[name] = value.clone() if name not in expected else decay * expected[name] + (1 - decay) * value
    averaged = trial.weights()
    assert averaged.keys() == trial.state_dict()["model"].keys()
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name], value)
    assert differ(averaged, trial.state_dict()["model"])
    plain = Trial(config_of(), data)
    plain._net.load_state_dict(averaged)
    assert plain.validate() == trial.validate()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_format_and_precision(precision: str, data: TrialData) -> None:
    trial = Trial(config_of(mix="cutmix", model={"precision": precision}), data)
    fed: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []

    def record(net: torch.nn.Module, args: tuple[torch.Tensor], logits: torch.Tensor) -> None:
        fed.append(args[0])
        outputs.append(logits)

    trial._net.register_forward_hook(record)
    trial.run_epoch()
    assert trial.precision == precision
    assert len(fed) == STEPS + 1
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images in fed)
    assert all(images.dtype == torch.float32 for images in fed)
    assert {logits.dtype for logits in outputs} == {torch.bfloat16 if precision == "bf16" else torch.float32}
    kernels = [weight for weight in trial.weights().values() if weight.ndim == 4]
    assert kernels
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    assert {weight.dtype for weight in kernels} == {torch.float32}


def test_auto_precision_is_resolved(data: TrialData) -> None:
    assert Trial(config_of(model={"precision": "auto"}), data).precision in ("fp32", "bf16")
