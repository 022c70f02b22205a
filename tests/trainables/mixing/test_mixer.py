"""The mixer: the draws of a trial in one's own loop, DataLoader, and beside torchvision and timm."""

from __future__ import annotations

import io
import json
import pickle
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from timm.data.mixup import Mixup
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from trainables.errors import UserError
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.mixer import Mixer
from trainables.mixing.presets import PRESETS
from trainables.mixing.saliency import stand_in_maps
from trainables.seeds import generator

N_CLASSES, SIDE_PX = 5, 16
CUTMIX = {"preset": "cutmix", "apply": {"prob": 1.0}}
IMAGE_PRESETS = [name for name in PRESETS if max(Mix.model_validate(name).layers) == 0]
README = Path(__file__).parents[3] / "trainables" / "README.md"

Library = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def batch(count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    pixels = rng.standard_normal((count, 3, SIDE_PX, SIDE_PX), dtype=np.float32)
    return torch.from_numpy(pixels), torch.from_numpy(rng.integers(N_CLASSES, size=count))


def same(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


@pytest.mark.parametrize("preset", IMAGE_PRESETS)
def test_a_mixer_applies_the_draws_of_its_policy(preset: str) -> None:
    """Each preset, with batches of 8, 3 and 1: the draw of ``draw_mix``, smoothed once."""
    policy = {"preset": preset, "label": {"smoothing": 0.1}}
    mixer, mix = Mixer(policy, n_classes=N_CLASSES, seed=3, n_steps=10), Mix.model_validate(policy)
    for step, count in enumerate([8, 3, 1]):
        images, labels = batch(count, seed=step)
        before = images.clone()
        boxes = torch.tensor([[2, 3, 12, 9]] * count)
        maps = stand_in_maps(images)
        mixed, targets = mixer(images, labels, boxes=boxes, maps=maps)
        view = BatchView((count, 3, SIDE_PX, SIDE_PX), labels.numpy(), images, boxes.numpy(), maps)
        draw = draw_mix(mix, view, rng=generator(3, "mixer", step), device=torch.device("cpu"), t=step / 10)
        expected = mix_targets(labels, draw, n_classes=N_CLASSES, smoothing=0.1)
        assert same((mixed, targets), (mix_images(images, draw), expected))
        assert mixer.last_draw is not None
        assert torch.equal(mixer.last_draw.partner, draw.partner)
        assert torch.equal(images, before)
    assert mixer.step == 3


def test_without_mixing_nothing_changes() -> None:
    images, labels = batch(7)
    mixed, targets = Mixer("off", n_classes=N_CLASSES)(images, labels)
    assert mixed is images
    assert torch.equal(targets, torch.nn.functional.one_hot(labels, N_CLASSES).float())


@pytest.mark.parametrize("policy", ["cutmix", "timm_pair", "saliencymix"])
def test_a_saved_mixer_continues_bit_for_bit(policy: str) -> None:
    whole, first = (Mixer(policy, n_classes=N_CLASSES, seed=7) for _ in range(2))
    batches = [batch(count, seed=count) for count in (8, 8, 3, 8)]
    expected = [whole(*each) for each in batches]
    for each in batches[:2]:
        first(*each)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    states = [torch.load(file, weights_only=True), json.loads(json.dumps(first.state_dict()))]
    for state in states:
        resumed = Mixer(policy, n_classes=N_CLASSES, seed=99)
        resumed.load_state_dict(state)
        assert all(same(resumed(*each), result) for each, result in zip(batches[2:], expected[2:], strict=True))
    assert all(same(copy(*batches[0]), whole(*batches[0])) for copy in [pickle.loads(pickle.dumps(whole))])


def test_the_state_of_another_mixer_is_refused() -> None:
    state = Mixer("cutmix", n_classes=3).state_dict()
    with pytest.raises(ValueError, match=r"another policy: 'mask' is Box\(.*this mixer has Flat\("):
        Mixer("mixup", n_classes=3).load_state_dict(state)
    with pytest.raises(ValueError, match="n_classes 3, this mixer has 4"):
        Mixer("cutmix", n_classes=4).load_state_dict(state)


def test_seeds_steps_and_global_randomness() -> None:
    images, labels = batch(8)
    mixer = Mixer(CUTMIX, n_classes=N_CLASSES, seed=1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = mixer(images, labels), mixer(images, labels)
    other = Mixer(CUTMIX, n_classes=N_CLASSES, seed=2)(images, labels)
    assert not same(first, second)
    assert not same(first, other)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


# ---------------------------------------------------------------- DataLoader


def epochs(n_workers: int, *, set_step: bool, n_epochs: int = 2, policy: Any = CUTMIX) -> list[tuple[Tensor, Tensor]]:
    mixer = Mixer(policy, n_classes=N_CLASSES, seed=0, n_steps=20)
    order = torch.Generator().manual_seed(5)
    loader = DataLoader(
        TensorDataset(*batch(26)), 4, shuffle=True, collate_fn=mixer.collate, num_workers=n_workers, generator=order
    )
    results: list[tuple[Tensor, Tensor]] = []
    for epoch in range(n_epochs):
        if set_step:
            mixer.set_step(epoch * len(loader))
        results.extend((images.clone(), targets.clone()) for images, targets in loader)
    return results


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_number_of_workers_has_no_influence() -> None:
    """The last batch of each epoch is smaller."""
    free, set_ = ({n: epochs(n, set_step=step) for n in (0, 1, 3)} for step in (False, True))
    assert len(set_[0]) == 14
    assert all(same(one, two) for n in (1, 3) for one, two in zip(set_[0], set_[n], strict=True))
    assert all(same(one, two) for one, two in zip(free[1], free[3], strict=True))
    assert all(same(one, two) for one, two in zip(free[0], set_[0], strict=True))
    partners = {json.dumps(targets.tolist()) for _, targets in free[3]}
    assert len(partners) == 14  # no epoch and no worker repeats the draws of another


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_epochs_differ_in_workers() -> None:
    """The same images in the same order twice: the draws differ nevertheless."""
    mixer = Mixer(CUTMIX, n_classes=N_CLASSES)
    loader = DataLoader(TensorDataset(*batch(8)), 4, collate_fn=mixer.collate, num_workers=1)
    first, second = ([images.clone() for images, _ in loader] for _ in range(2))
    assert not any(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_a_schedule_in_workers_needs_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = Mixer("cutmix_scheduled", n_classes=N_CLASSES, n_steps=20)
    worker = types.SimpleNamespace(id=1, num_workers=2, seed=5)
    monkeypatch.setattr("trainables.mixing.mixer.get_worker_info", lambda: worker)
    with pytest.raises(ValueError, match=r"mixer\.set_step\(epoch \* len\(loader\)\)"):
        mixer(*batch(8))
    mixer.set_step(18)  # this worker gets the second batch from there on: step 19 of 20
    mixer(*batch(200))
    assert mixer.last_draw is not None
    assert mixer.last_draw.applied.mean() > 0.8


def test_samples_with_a_box() -> None:
    images, labels = batch(4)
    boxes = torch.tensor([[2, 3, 12, 9]] * 4)
    mixer = Mixer({"preset": "objectmix", "apply": {"prob": 1.0}}, n_classes=N_CLASSES)
    mixer.collate(list(zip(images, labels, boxes, strict=True)))
    assert mixer.last_draw is not None
    assert mixer.last_draw.lam.tolist() == pytest.approx([1 - 60 / SIDE_PX**2] * 4)
    with pytest.raises(TypeError, match=r"\(image, label, box\), got dict with \['image', 'label'\]"):
        mixer.collate([{"image": images[0], "label": 1}])


# ---------------------------------------------------------------- schedule, devices, refusals


def test_schedule() -> None:
    images, labels = batch(8)
    mixer = Mixer("cutmix_scheduled", n_classes=N_CLASSES, n_steps=50)
    applied = []
    for _ in range(55):
        mixer(images, labels)
        assert mixer.last_draw is not None
        applied.append(mixer.last_draw.applied.mean())
    assert applied[0] == 0
    assert applied[50:] == [1.0] * 5  # past the planned steps the last value stays
    assert 0.4 < np.mean(applied[:50]) < 0.6
    mixed, _ = mixer(images, labels, t=0.0)
    assert mixed is images


@pytest.mark.parametrize(
    "preset",
    [name for name in IMAGE_PRESETS if "boxes" not in Mix.model_validate(name).needs],
)
def test_nothing_waits_for_the_device(preset: str) -> None:
    """Tensors without data: whatever read a value back would fail."""
    images, labels = torch.empty(6, 3, SIDE_PX, SIDE_PX, device="meta"), torch.zeros(6, dtype=torch.int64)
    policy = {"preset": preset} | ({} if preset == "off" else {"apply": {"prob": 1.0}})
    for where in ("cpu", "meta"):
        maps = torch.empty(6, 4, 4, device="meta")
        mixed, targets = Mixer(policy, n_classes=N_CLASSES, n_steps=5)(images, labels.to(where), maps=maps)
        assert (mixed.shape, targets.shape) == (images.shape, (6, N_CLASSES))
        assert targets.device.type == "meta"


def test_masks_do_not_depend_on_autocast() -> None:
    images, labels = batch(128)
    policy = {"preset": "saliencymix", "apply": {"prob": 1.0}}
    plain, cast = (Mixer(policy, n_classes=N_CLASSES) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = cast(images, labels)
    assert same(plain(images, labels), result)


def test_memory_that_is_reused() -> None:
    images, labels = batch(8)
    spare = torch.empty_like(images)
    mixers = [Mixer(CUTMIX, n_classes=N_CLASSES) for _ in range(2)]
    mixed, _ = mixers[0](images, labels, out=spare)
    assert mixed.data_ptr() == spare.data_ptr()
    assert torch.equal(mixed, mixers[1](images, labels)[0])


IMAGES, LABELS = torch.zeros(4, 3, 8, 8), torch.arange(4)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (IMAGES, torch.tensor([0, 1, 2, 4]), ValueError, "from 0 to 3 for n_classes 4, got 4"),
        (IMAGES, torch.tensor([0, -1, 2, 3]), ValueError, "from 0 to 3 for n_classes 4, got -1"),
        (IMAGES, LABELS.int(), TypeError, r"int64 \[B\], got torch.int32"),
        (IMAGES, torch.eye(4), TypeError, r"int64 \[B\], got torch.float32 \[4, 4\]"),
        (IMAGES, LABELS[:3], ValueError, r"shape \[4\], got \[3\]"),
        (IMAGES[0], LABELS, ValueError, r"\[B, C, H, W\], got \[3, 8, 8\]"),
        (IMAGES[:0], LABELS[:0], ValueError, r"\[B, C, H, W\], got \[0, 3, 8, 8\]"),
        (IMAGES.int(), LABELS, TypeError, "uint8, got torch.int32"),
        (IMAGES.numpy(), LABELS, TypeError, "images must be a tensor, got ndarray"),
    ],
)
def test_batches_that_are_refused(images: Any, labels: Tensor, error: type[Exception], message: str) -> None:
    mixer = Mixer("cutmix", n_classes=4)
    with pytest.raises(error, match=message):
        mixer(images, labels)
    assert mixer.step == 0


@pytest.mark.parametrize(
    ("policy", "options", "error", "message"),
    [
        ("cutmx", {}, UserError, "unknown preset 'cutmx'; did you mean 'cutmix'"),
        ({"preset": "cutmix", "sise": {}}, {}, UserError, "unknown key 'sise'; did you mean 'size'"),
        ("manifold_mixup", {}, UserError, r"layer is \[0, 1, 2\], .*'layer': 0"),
        (3, {}, TypeError, "policy must be a preset's name"),
        ("cutmix", {"n_classes": 0}, ValueError, "n_classes must be >= 1, got 0"),
        ("cutmix", {"seed": 0.5}, TypeError, "seed must be an integer, got 0.5"),
        ("cutmix_scheduled", {"n_steps": 0}, ValueError, "n_steps must be >= 1, got 0"),
    ],
)
def test_mixers_that_are_refused(policy: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Mixer(policy, **{"n_classes": 4} | options)


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ("cutmix_scheduled", {}, r"apply\.schedule, .*n_steps"),
        ("cutmix", {"t": 1.5}, "t must be from 0 to 1, .*got 1.5"),
        ("objectmix", {}, r"pass mixer\(images, labels, boxes=\.\.\.\)"),
        ("cutmix", {"boxes": torch.zeros(4, 2, dtype=torch.int64)}, r"shape \(4, 4\), got \(4, 2\)"),
        ("snapmix", {}, r"needs maps of the network \(cam\): pass mixer\(images, labels, maps=\.\.\.\)"),
        ("attentivemix", {"maps": torch.ones(4, 1, 2, 2)}, r"floating point \[4, h, w\], got .*\[4, 1, 2, 2\]"),
        ("snapmix", {"maps": lambda kind: torch.ones(3, 2, 2)}, r"floating point \[4, h, w\], got .*\[3, 2, 2\]"),
        (
            {"preset": "snapmix", "alternate": {"mix": "attentivemix"}},
            {"maps": torch.ones(4, 2, 2)},
            r"2 kinds \(attention and cam\), got one tensor: pass a function",
        ),
        ("mixup", {"out": IMAGES}, "out must be other memory than images"),
    ],
)
def test_calls_that_are_refused(policy: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixer(policy, n_classes=4)(IMAGES, LABELS, **options)


# ---------------------------------------------------------------- beside torchvision and timm


N_BATCHES, BATCH = 400, 8
IDENTITY = torch.eye(BATCH)[:, :, None, None].expand(BATCH, BATCH, SIDE_PX, SIDE_PX)
"""Image i is white in channel i alone: the mean over the pixels is the fraction of each image in a mixed one."""


def compositions(mixer: Library, n_batches: int) -> np.ndarray:
    """Return the fraction of each image in each mixed one, [n_batches, B, B]; it equals the targets."""
    found = []
    for _ in range(n_batches):
        mixed, targets = mixer(IDENTITY.clone(), torch.arange(BATCH))
        fractions = mixed.mean(dim=(2, 3))
        torch.testing.assert_close(fractions, targets, rtol=0, atol=2e-6)
        found.append(fractions.double().numpy())
    return np.stack(found)


def timm_of(mode: str, **options: Any) -> Library:
    options = {"mixup_alpha": 0.8, "cutmix_alpha": 0.0} | options
    return Mixup(mode=mode, label_smoothing=0.0, num_classes=BATCH, **options)


MIXUP_ALONE = {"alternate": None}
PAIRS: dict[str, tuple[Callable[[], Library], dict[str, Any], int]] = {
    "torchvision CutMix": (lambda: v2.CutMix(num_classes=BATCH), {"preset": "torchvision_cutmix"}, 1),
    "torchvision MixUp": (
        lambda: v2.MixUp(alpha=0.2, num_classes=BATCH),
        {"preset": "torchvision", **MIXUP_ALONE},
        1,
    ),
    "timm batch": (lambda: timm_of("batch"), {"preset": "timm", **MIXUP_ALONE}, 1),
    "timm pair": (lambda: timm_of("pair", prob=0.7), {"preset": "timm_pair", "apply": {"prob": 0.7}, **MIXUP_ALONE}, 4),
    "timm elem": (lambda: timm_of("elem", prob=0.7), {"preset": "timm_elem", "apply": {"prob": 0.7}, **MIXUP_ALONE}, 8),
}
"""A library's class, the preset that means the same, and the number of independent draws per batch."""


@pytest.mark.parametrize("name", PAIRS)
def test_distributions_agree(name: str) -> None:
    """The same partners, the same samples that share a draw, and the same law of lam."""
    build, policy, n_draws = PAIRS[name]
    torch.manual_seed(0)
    np.random.mtrand._rand.seed(0)
    theirs, ours = (compositions(mixer, N_BATCHES) for mixer in (build(), Mixer(policy, n_classes=BATCH, seed=0)))
    lams = []
    for found in (theirs, ours):
        lam = np.diagonal(found, axis1=1, axis2=2)
        lams.append(lam[:, :n_draws].ravel())
        partners = [np.flatnonzero((found[:, row] > 0).any(axis=0)) for row in range(BATCH)]
        shift = [(row - 1) % BATCH if "torchvision" in name else BATCH - 1 - row for row in range(BATCH)]
        assert [set(each) for each in partners] == [{row, other} for row, other in enumerate(shift)]
        distinct = np.mean([len(np.unique(row.round(6))) for row in lam if (row < 1).all()])
        assert n_draws - 0.5 < distinct <= n_draws
    assert (lams[0] == 1).mean() == pytest.approx((lams[1] == 1).mean(), abs=0.05)
    assert ks_2samp(*lams).pvalue > 1e-3


def test_the_comparison_sees_a_difference() -> None:
    """Another alpha, and the preset after the paper with its probability of 0.5."""
    torch.manual_seed(0)
    theirs = compositions(v2.CutMix(num_classes=BATCH), N_BATCHES)[:, 0, 0]
    for policy in (CUTMIX | {"size": {"alpha": 0.5}}, "cutmix"):
        ours = compositions(Mixer(policy, n_classes=BATCH), N_BATCHES)[:, 0, 0]
        assert ks_2samp(theirs, ours).pvalue < 1e-3


def test_both_policies_of_a_recipe() -> None:
    """Mixup or CutMix per batch, as torchvision's ``RandomChoice`` and timm's ``switch_prob`` alternate them."""
    np.random.mtrand._rand.seed(0)
    torch.manual_seed(0)
    choice = v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=BATCH), v2.CutMix(num_classes=BATCH)])
    recipes = {"torchvision": choice, "timm": timm_of("batch", cutmix_alpha=1.0)}
    for preset, library in recipes.items():
        hard = []
        for mixer in (library, Mixer(preset, n_classes=BATCH)):
            mixed = [mixer(IDENTITY.clone(), torch.arange(BATCH))[0] for _ in range(N_BATCHES)]
            hard.append(np.mean([bool(((images == 0) | (images == 1)).all()) for images in mixed]))
        assert hard == pytest.approx([0.5, 0.5], abs=0.1)


def test_a_mixer_stands_where_the_libraries_stand() -> None:
    """One of torchvision's containers calls it, and its targets are those that both libraries return."""
    images, labels = batch(8)
    mixer = Mixer("mixup", n_classes=N_CLASSES)
    for container in (v2.RandomChoice([mixer]), v2.Compose([mixer])):
        mixed, targets = container(images, labels)
        assert (mixed.shape, targets.shape, targets.dtype) == (images.shape, (8, N_CLASSES), torch.float32)


# ---------------------------------------------------------------- README


def test_the_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = re.search(
        r"^## Mixing in your own training loop\n(.*?)^## ", README.read_text(), re.MULTILINE | re.DOTALL
    )
    assert section
    blocks = re.findall(r"^```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["mixer"].step > 0
