"""The section of the configuration, color jitter and lighting, and the draws of an epoch."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as F

from trainables.augment.apply import augmented, lit
from trainables.augment.config import Augment
from trainables.augment.draw import EIGENVALUES, EIGENVECTORS, device_arrays, draw_changes, jitter_operations
from trainables.augment.operations import OPERATIONS
from trainables.augment.policies import POLICIES
from trainables.config import TrialConfig
from trainables.data.epoch_draw import EpochDraw, draw_epoch
from trainables.errors import UserError
from trainables.strict import parse

SIDE = 16


def images_of(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(256, size=(count, SIDE, SIDE, 3), dtype=np.uint8))


def applied(augment: Augment, drawn: dict[str, np.ndarray], images: torch.Tensor) -> torch.Tensor:
    flipped = np.zeros(len(images), dtype=bool)
    arrays = device_arrays(augment, drawn, windows=None, flipped=flipped, height_px=SIDE, width_px=SIDE)
    return augmented(images, {name: torch.from_numpy(values) for name, values in arrays.items()}, augment)


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"augment": {"policy": {"kind": "rand_augmnt"}}},
            "'augment.policy.kind' is unknown: 'rand_augmnt'; did you mean 'rand_augment'?",
        ),
        ({"augment": {"policy": {"magnitude": 9}}}, "'augment.policy' needs the key 'kind', which names its variant"),
        (
            {"augment": {"policy": {"kind": "trivial_augment", "magnitude": 9}}},
            "unknown key 'augment.policy.magnitude'; valid: fill, interpolation, kind",
        ),
        ({"augment": {"policy": {"kind": "rand_augment", "magnitude": 31}}}, "'augment.policy.magnitude': input"),
        (
            {"augment": {"resized_crop": {"area_frac": [0.5, 0.2]}}},
            "'augment.resized_crop.area_frac': must be [lower, upper] with 0 < lower <= upper <= 1, got [0.5, 0.2]",
        ),
        ({"augment": {"resized_crop": {"aspect": [0, 1]}}}, "'augment.resized_crop.aspect': must be [lower, upper]"),
        (
            {"augment": {"color_jitter": {"brightness": 0, "contrast": 0, "saturation": 0}}},
            "'augment.color_jitter': brightness, contrast, saturation and hue are all 0",
        ),
        ({"augment": {"lighting": {"sd": 0}}}, "'augment.lighting.sd': input should be greater than 0"),
        (
            {"augment": {"resized_crop": {}}, "data": {"pad_px": 2}},
            "data.pad_px is 2, but augment.resized_crop replaces its crop: remove one of them",
        ),
        (
            {"augment": {"policy": {"kind": "augmix"}}, "mix": "objectmix"},
            "mix needs the boxes of objects, which are not moved with the pixels, but augment.policy 'augmix' has",
        ),
    ],
)
def test_what_is_wrong_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse(TrialConfig, values, where="here")
    assert str(refusal.value).startswith(f"here: {message}")


@pytest.mark.parametrize("kind", POLICIES)
def test_a_recorded_section_is_read_back(kind: str) -> None:
    values = {"resized_crop": {}, "policy": {"kind": kind}, "color_jitter": {}, "lighting": {}}
    config = TrialConfig.model_validate({"augment": values})
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


def test_what_is_not_set_is_not_recorded() -> None:
    assert "augment" not in TrialConfig().model_dump()
    assert TrialConfig.model_validate({"augment": {"lighting": {}}}).model_dump()["augment"] == {
        "lighting": {"sd": 0.1}
    }


# ---------------------------------------------------------------- colours


def test_color_jitter_equals_torchvision_in_the_drawn_order() -> None:
    augment = Augment.model_validate({"color_jitter": {"hue": 0.2}})
    images = images_of(24)
    drawn = draw_changes(augment, 24, height_px=SIDE, width_px=SIDE, rng=np.random.default_rng(0))
    functions = {
        "brightness": F.adjust_brightness,
        "contrast": F.adjust_contrast,
        "color": F.adjust_saturation,
        "hue": F.adjust_hue,
    }
    expected = []
    for image, codes, amounts in zip(images, drawn["jitter.codes"], drawn["jitter.amounts"], strict=True):
        result = image.permute(2, 0, 1)
        for code, amount in zip(codes, amounts.tolist(), strict=True):
            name = OPERATIONS[code]
            result = functions[name](result, amount if name == "hue" else 1 + amount)
        expected.append(result.permute(1, 2, 0))
    difference = (applied(augment, drawn, images).int() - torch.stack(expected).int()).abs()
    assert difference.max() <= 4  # a level that is rounded otherwise is passed on
    assert difference.float().mean() < 0.01


def test_color_jitter_draws_each_order_alike_and_its_factors_uniformly() -> None:
    augment = Augment.model_validate({"color_jitter": {"brightness": 0.4, "contrast": 3.0, "saturation": 0.1}})
    assert augment.color_jitter is not None
    assert list(jitter_operations(augment.color_jitter)) == ["brightness", "contrast", "color"]
    drawn = draw_changes(augment, 3000, height_px=SIDE, width_px=SIDE, rng=np.random.default_rng(0))
    names = [tuple(OPERATIONS[code] for code in row) for row in drawn["jitter.codes"]]
    counts = [names.count(order) for order in permutations(["brightness", "contrast", "color"])]
    assert stats.chisquare(counts).pvalue > 1e-3
    for name, low, high in (("brightness", -0.4, 0.4), ("contrast", -1.0, 3.0), ("color", -0.1, 0.1)):
        values = drawn["jitter.amounts"][[[each == name for each in row] for row in names]]
        assert len(values) == 3000
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_lighting_shifts_along_the_principal_components() -> None:
    """As in the authors' code: the sum over components of eigenvector, eigenvalue and a normal number."""
    augment = Augment.model_validate({"lighting": {"sd": 0.5}})
    drawn = draw_changes(augment, 4000, height_px=SIDE, width_px=SIDE, rng=np.random.default_rng(0))
    strengths = drawn["shifts"] / 255 @ np.linalg.inv(np.transpose(EIGENVECTORS)) / EIGENVALUES / 0.5
    for component in strengths.T:
        assert stats.kstest(component, stats.norm.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(strengths.T) - np.eye(3)).max() < 0.06
    images = images_of(3)
    shifts = torch.tensor([[0.0, 0, 0], [3.4, -3.6, 300], [-300, 0.5, 1.5]])
    expected = (images.float() + shifts[:, None, None]).round().clamp(0, 255)
    assert torch.equal(lit(images, shifts).float(), expected)


# ---------------------------------------------------------------- draws of an epoch


def drawn_epoch(augment: Augment | None, flip: bool = True) -> tuple[EpochDraw, float]:
    rng = np.random.default_rng(4)
    draw = draw_epoch(
        20,
        batch_size=8,
        pad_px=4,
        flip=flip,
        order_rng=np.random.default_rng(3),
        augment_rng=rng,
        augment=augment,
        sides_px=(SIDE, SIDE),
    )
    return draw, rng.random()


def test_without_a_section_the_draws_are_as_before() -> None:
    (plain, after), (off, after_off) = drawn_epoch(None), drawn_epoch(Augment())
    with_policy, after_policy = drawn_epoch(Augment.model_validate({"policy": {"kind": "rand_augment"}}))
    assert after == after_off != after_policy
    for draw in (off, with_policy):
        assert np.array_equal(plain.corners, draw.corners)
        assert np.array_equal(plain.flipped, draw.flipped)
    assert (off.windows, dict(off.changes)) == (None, {})


def test_a_resized_crop_shifts_nothing_and_batches_are_parts_of_the_epoch() -> None:
    draw, _ = drawn_epoch(Augment.model_validate({"resized_crop": {}, "policy": {"kind": "augmix"}}))
    assert (draw.corners == 4).all()
    parts = list(draw.batches(8))
    assert [len(part) for part in parts] == [8, 8, 4]
    assert draw.windows is not None
    assert np.array_equal(np.concatenate([part.windows for part in parts]), draw.windows)
    for name, values in draw.changes.items():
        assert np.array_equal(np.concatenate([part.changes[name] for part in parts]), values)
