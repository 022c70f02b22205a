"""Several workers per trial: losses of one worker up to rounding, and the same draws to the bit.

This process is the first worker of a group of two, ``follower.py`` is the second one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.data.mini_imagenet import write_mini_imagenet
from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.distributed import Group, GroupTrial, join_group, leave_group, open_store
from trainables.faults import BrokenGroup
from trainables.trial import Trial

ROOT = Path(__file__).parents[2]
EPOCHS = 2
DRAWN = ("epoch", "lr", "effective_prob", "pasted_frac")
COMPUTED = ("train_loss", "val_nll", "val_top1_error", "val_ece")

Follower = subprocess.Popen[str]


def config_of(**changes: Any) -> TrialConfig:
    values: dict[str, Any] = {
        "data": {"train_frac": 0.04, "batch_size": 53, "pad_px": 2},  # 200 images: the last batch has 41
        "model": {"width": 0.25, "precision": "fp32"},
        "optimizer": {"max_epochs": EPOCHS, "lr": 0.05, "ema_decay": 0.9},
        "evaluation": {"batch_size": 16},
        "mix": "cutmix",
    }
    return TrialConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Group, Follower]]:
    """The group, and the process of its second worker."""
    store = open_store("127.0.0.1", 2)
    command = [sys.executable, "-m", "tests.trainables.follower", str(store.port)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=ROOT) as follower:
            yield join_group(store, rank=0, n_workers=2, device="cpu"), follower
            follower.kill()
        leave_group()


def begin(pair: tuple[Group, Follower], config: TrialConfig) -> GroupTrial:
    group, follower = pair
    assert follower.stdin is not None
    print(config.model_dump_json(), file=follower.stdin, flush=True)
    return GroupTrial(config, prepare_data(config.data), group=group)


def alone(config: TrialConfig) -> Trial:
    return Trial(config, prepare_data(config.data))


def check_equal(one: Trial, several: Trial, *, first_rtol: float = 1e-5) -> None:
    """Check that the curves are equal up to rounding, and draws and generators to the bit.

    Rounding can move an activation over the kink of a ReLU: one of 6,656 changed a loss by 1e-4 after an epoch.
    """
    losses = one.history[0].train_loss, several.history[0].train_loss
    assert losses[0] == pytest.approx(losses[1], rel=first_rtol)
    assert len(one.history) == len(several.history)
    for expected, result in zip(map(asdict, one.history), map(asdict, several.history), strict=True):
        assert {name: result[name] for name in DRAWN} == {name: expected[name] for name in DRAWN}
        assert {n: result[n] for n in COMPUTED} == pytest.approx({n: expected[n] for n in COMPUTED}, rel=5e-3)
    states = one.state_dict(), several.state_dict()
    assert states[0]["generators"] == states[1]["generators"]
    if states[0]["dropblock"] is not None:
        assert torch.equal(states[0]["dropblock"], states[1]["dropblock"])
    if "branches" in states[0]:
        assert torch.equal(states[0]["branches"], states[1]["branches"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "mix": {"preset": "cutmix", "layer": 2},
            "augment": {"policy": {"kind": "trivial_augment"}, "color_jitter": {}},
        },
        {"mix": {"preset": "cutmix", "layer": [0, 2]}, "model": {"width": 0.25, "precision": "bf16"}},
        {
            "mix": {"preset": "saliencymix"},
            "model": {"width": 0.25, "precision": "fp32", "dropblock": {"block_px": 3}, "shakedrop": {}},
        },
        {"mix": "off", "adversarial": {"kind": "fgsm"}},
        {"mix": "snapmix", "data": {"train_frac": 0.04, "batch_size": 199, "pad_px": 2}},
    ],
    ids=[
        "cutmix",
        "augmented_and_inside_the_network",
        "bf16",
        "dropblock_and_shakedrop",
        "adversarial",
        "maps_and_a_last_batch_of_one",
    ],
)
def test_two_workers_give_the_curve_of_one(pair: tuple[Group, Follower], changes: dict[str, Any]) -> None:
    config = config_of(**changes)
    one, two = alone(config), begin(pair, config)
    for _ in range(EPOCHS):
        one.run_epoch()
        two.run_epoch()
    two.end()
    check_equal(one, two, first_rtol=1e-3 if config.model.precision == "bf16" else 1e-5)
    assert two.state_dict().keys() == one.state_dict().keys()


def test_two_workers_decode_one_half_of_the_jpegs_each(pair: tuple[Group, Follower], tmp_path: Path) -> None:
    source = write_mini_imagenet(tmp_path / "imagenet", n_train=20)
    data = {"source": source, "image_size_px": 24, "store": "jpeg", "batch_size": 9}
    # the rate is so low that rounding does not grow: other images would be seen in the losses
    optimizer = {"max_epochs": EPOCHS, "lr": 1e-5, "ema_decay": 0.9}
    config = config_of(data=data, augment={"resized_crop": {}}, optimizer=optimizer)
    one, two = alone(config), begin(pair, config)
    for _ in range(EPOCHS):
        one.run_epoch()
        two.run_epoch()
    two.end()
    check_equal(one, two, first_rtol=1e-6)


@pytest.mark.parametrize("n_alone", [0, 1], ids=["two_then_one", "one_then_two"])
def test_a_trial_is_resumed_with_another_number_of_workers(pair: tuple[Group, Follower], n_alone: int) -> None:
    config = config_of()
    straight, resumed = alone(config), alone(config)
    trials = [resumed, begin(pair, config)]
    first, second = trials if n_alone else reversed(trials)
    first.run_epoch()
    second.load_state_dict(first.state_dict())
    second.run_epoch()
    trials[1].end()  # type: ignore[attr-defined]
    for _ in range(EPOCHS):
        straight.run_epoch()
    check_equal(straight, second)


def test_the_same_weights_are_validated_to_the_same_values(pair: tuple[Group, Follower]) -> None:
    """Each worker takes whole batches of the evaluation: the merged logits are those of one worker, to the bit."""
    two = begin(pair, config_of())
    result = two.run_epoch()
    two.end()
    one = alone(config_of())
    one.load_state_dict(two.state_dict())
    names = ("top1_error", "top5_error", "nll", "ece")
    assert one.validate() == {name: getattr(result, f"val_{name}") for name in names}


def test_a_group_repeats_its_values_to_the_bit(pair: tuple[Group, Follower]) -> None:
    losses = []
    for _ in range(2):
        trial = begin(pair, config_of())
        losses.append([trial.run_epoch().train_loss, trial.run_epoch().val_nll])
        trial.end()
    assert losses[0] == losses[1]


def test_a_killed_worker_is_named(pair: tuple[Group, Follower]) -> None:  # the last test: the group is gone
    trial = begin(pair, config_of())
    trial.run_epoch()
    pair[1].kill()
    with pytest.raises(BrokenGroup, match="peer"):
        trial.run_epoch()
