"""Properties of mixing for random policies and images of unusual shapes.

All mask families take part, with random parameters; a new family is covered without an entry here.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import HealthCheck, assume, given, reject, seed, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from torch import Tensor

from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.masks.division import Division
from trainables.mixing.pairing import Pairing
from trainables.mixing.pastes import MixDraw, Paste
from trainables.mixing.position import RULES
from trainables.mixing.saliency import stand_in_maps

CPU = torch.device("cpu")

SHAPES = ((1, 1), (1, 6), (5, 1), (5, 9), (8, 8), (12, 7), (16, 12))
"""Heights and widths: few, so that banks of fields are made once for each."""
COUNTS = (1, 2, 3, 4, 5, 7)

UNIT = st.floats(0, 1)
PAIRINGS = sorted(kind.model_fields["kind"].default for kind in get_args(get_args(Pairing)[0]))


@dataclass(frozen=True, eq=False)
class Case:
    """A policy and a batch that it is drawn for."""

    mix: Mix
    view: BatchView
    t: float
    seed: int

    def draw(self) -> MixDraw:
        return draw_mix(self.mix, self.view, rng=np.random.default_rng(self.seed), device=CPU, t=self.t)

    @property
    def count(self) -> int:
        return self.view.shape[0]

    def __repr__(self) -> str:
        return f"{self.mix.model_dump_json(exclude_defaults=True)} on {self.view.shape}, t {self.t}, seed {self.seed}"


# ---------------------------------------------------------------- the grammar as a strategy


def values_of(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    """Draw values of a mask's parameter from its own type and bounds, unbounded ones up to 8 above the least."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return st.none() | st.one_of([typed(name, part, field) for part in parts])
    return typed(name, annotation, field)


def typed(name: str, kind: Any, field: FieldInfo) -> st.SearchStrategy[Any]:
    if kind is bool:
        return st.booleans()
    if get_origin(kind) is tuple:  # of integers
        return st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True).map(tuple)
    low = next(
        (bound.ge if isinstance(bound, Ge) else bound.gt for bound in field.metadata if isinstance(bound, (Ge, Gt))), 0
    )
    high = next(
        (bound.le if isinstance(bound, Le) else bound.lt for bound in field.metadata if isinstance(bound, (Le, Lt))),
        low + 8,
    )
    if kind is int:
        return st.integers(low, min(high, low + 8))
    if kind is float:
        opened = {type(bound) for bound in field.metadata}
        return st.floats(low, min(high, low + 8), exclude_min=Gt in opened, exclude_max=Lt in opened)
    raise TypeError(f"mask parameter '{name}' is of {kind}: say here how to draw it")


@st.composite
def masks(draw: st.DrawFn, families: tuple[str, ...]) -> dict[str, Any]:
    family = FAMILIES[draw(st.sampled_from(families))]
    parameters = sorted(set(family.model_fields) - {"family"})
    varied = draw(st.lists(st.sampled_from(parameters), unique=True, max_size=3)) if parameters else []
    values = {name: draw(values_of(name, family.model_fields[name])) for name in varied}
    return {"family": family.model_fields["family"].default, **values}


BOUNDS = st.tuples(UNIT, UNIT).map(sorted).filter(lambda bounds: bounds[1] - bounds[0] > 0.05)
SIZES = st.one_of(
    st.fixed_dictionaries({"kind": st.just("beta"), "alpha": st.floats(0.05, 8)}),
    st.builds(lambda alpha, beta: {"kind": "beta", "alpha": alpha, "beta": beta}, st.floats(0.1, 5), st.floats(0.1, 5)),
    st.builds(lambda ends: {"kind": "beta", "lo": ends[0], "hi": ends[1]}, BOUNDS),
    st.builds(
        lambda ends, of: {"kind": "uniform", "lo": ends[0], "hi": ends[1], "of": of},
        BOUNDS,
        st.sampled_from(["area", "side"]),
    ),
    st.builds(lambda frac: {"kind": "fixed", "frac": frac}, UNIT | st.sampled_from([0.0, 0.5, 1.0])),
)
EXPONENTS = st.just(1.0) | st.floats(0, 200) | st.sampled_from([0.0, "inf"])
LABELS = st.fixed_dictionaries({"exponent": EXPONENTS, "lam": st.sampled_from(["realised", "nominal"])})
GATES = st.sampled_from(["sample", "batch"])
SCHEDULES = st.lists(UNIT, min_size=4, max_size=4).map(
    lambda marks: dict(
        zip(("ramp_up_start", "ramp_up_end", "ramp_down_start", "ramp_down_end"), sorted(marks), strict=True)
    )
)
APPLIES = st.one_of(
    st.just({"prob": 1.0}),
    st.fixed_dictionaries({"prob": UNIT, "gate": GATES}, optional={"schedule": SCHEDULES}),
)


@st.composite
def policies(draw: st.DrawFn, families: tuple[str, ...] = tuple(sorted(FAMILIES))) -> dict[str, Any]:
    """Draw the parts of a policy that go together; only the parameters of a part may still be refused."""
    mask = draw(masks(families))
    family = FAMILIES[mask["family"]]
    content = draw(st.sampled_from(["partner", "partner", "partner", "zero", "noise"]))
    sees = family.needs is not None
    assume(content == "partner" or not sees)
    many = mask.get("count", 1) > 1
    kinds = [kind for kind in family.positions if RULES[kind].needs is None or (content == "partner" and not many)]
    kind = draw(st.sampled_from(kinds))
    sees |= RULES[kind].needs is not None
    position = {"kind": kind} | ({"sigma_frac": draw(st.floats(0.01, 3))} if kind == "gauss" else {})
    parts: dict[str, Any] = {"mask": mask, "position": position, "size": draw(SIZES), "content": content}
    n_partners = family.n_partners or draw(st.sampled_from([1, 1, 1, 2, 3]))
    assume(content == "partner" or family.n_partners is None)
    if content == "partner" and n_partners > 1:
        alphas = st.none() if family.n_partners else st.none() | st.floats(0.1, 10)
        parts["partners"] = {"count": n_partners, "alpha": draw(alphas)}
    parts["apply"] = draw(APPLIES)
    if content == "partner":
        parts["label"] = draw(LABELS)
        pairing = draw(st.sampled_from([kind for kind in PAIRINGS if kind != "flip" or "partners" not in parts]))
        parts["pairing"] = {"kind": pairing}
        divides = issubclass(family, Division)
        sources = ["same"] if kind == "whole" and not divides else ["same", "displaced", "resized", "region"]
        if RULES[kind].needs or divides or "partners" in parts:
            sources = [source for source in sources if source != "region"]
        if not family.framed or kind == "torus" or many:
            sources = [source for source in sources if source not in ("resized", "region")]
        parts["source"] = draw(st.sampled_from(sources))
        granularities = ["sample"] if sees else ["sample", "batch"] + ["pair"] * (pairing == "flip")
        parts["granularity"] = draw(st.sampled_from(granularities))
    else:
        parts["granularity"] = draw(st.sampled_from(["sample", "batch"]))
    return parts


@st.composite
def cases(draw: st.DrawFn, *, alternate: bool | None = None, count: int | None = None, **fixed: Any) -> Case:
    """Draw a policy with the ``fixed`` parts, or two that alternate, and a batch for it."""
    parts = draw(policies()) | fixed
    if draw(st.booleans()) if alternate is None else alternate:
        second = draw(policies()) | fixed
        parts["alternate"] = {"prob": draw(UNIT), "gate": draw(GATES), "mix": second}
    try:
        mix = Mix.model_validate(parts)
    except ValidationError:
        reject()
    batch_size = draw(st.sampled_from(COUNTS)) if count is None else count
    height_px, width_px = draw(st.sampled_from(SHAPES))
    seed = draw(st.integers(0, 2**32))
    return Case(mix, view_of(batch_size, height_px, width_px, seed), draw(UNIT), seed)


def view_of(count: int, height_px: int, width_px: int, seed: int) -> BatchView:
    """Random classes, images and boxes, some of the boxes empty."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(0, [[height_px + 1], [width_px + 1]], size=(count, 2, 2)), axis=2)
    images = torch.from_numpy(rng.standard_normal((count, 3, height_px, width_px), dtype=np.float32))
    return BatchView(
        shape=(count, 3, height_px, width_px),
        labels=rng.integers(3, size=count),
        images=images.contiguous(memory_format=torch.channels_last),
        boxes=ends.transpose(0, 2, 1).reshape(count, 4),
        maps=stand_in_maps(images),
    )


def laws(examples: int = 80) -> Any:
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def samples_of(paste: Paste, count: int) -> np.ndarray:
    return np.arange(count) if paste.rows is None else paste.rows


def weights_of(drawn: MixDraw) -> Tensor:
    """Return the fraction of each image in the label, the original's first: float32 [K + 1, B]."""
    return torch.cat([drawn.weight[None], drawn.partner_weights])


def whole_masks(case: Case, drawn: MixDraw) -> Tensor:
    """Where each sample shows a partner, float64 [B, 1, H, W], zero where it is not mixed."""
    count, _, height_px, width_px = case.view.shape
    original = torch.ones(count, 1, height_px, width_px, dtype=torch.float64)
    for paste in drawn.pastes:
        rows = samples_of(paste, count)
        if not paste.is_original:
            original[rows] *= 1 - paste.mask.double().expand(len(rows), 1, height_px, width_px)
    return 1 - original


# ---------------------------------------------------------------- the strategy itself


def test_every_family_is_drawn() -> None:
    """Each mask with each place; which examples come first depends on the modules that are loaded."""
    families, places = set(FAMILIES), {kind for family in FAMILIES.values() for kind in family.positions}
    seen: set[tuple[str, str]] = set()
    for number in range(10):

        @seed(number)
        @settings(laws(30 * len(FAMILIES)))
        @given(case=cases(alternate=False))
        def note(case: Case) -> None:
            seen.add((str(case.mix.mask.model_dump()["family"]), case.mix.position.kind))

        note()
        if {family for family, _ in seen} >= families and {kind for _, kind in seen} >= places:
            break
    assert {family for family, _ in seen} == families
    assert {kind for _, kind in seen} == places


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_parameter_can_be_varied(family: str) -> None:
    for name, field in FAMILIES[family].model_fields.items():
        assert values_of(name, field) is not None


# ---------------------------------------------------------------- labels


@laws()
@given(case=cases(), smoothing=st.sampled_from([0.0, 0.1, 0.9]))
def test_targets_are_distributions(case: Case, smoothing: float) -> None:
    drawn = case.draw()
    targets = mix_targets(torch.from_numpy(case.view.labels), drawn, n_classes=4, smoothing=smoothing)
    assert targets.dtype == torch.float32
    assert targets.shape == (case.count, 4)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(case.count))
    assert targets.min() >= smoothing / 4 - 1e-7
    for values in (drawn.lam, drawn.weight, torch.from_numpy(drawn.lam_nominal)):
        assert values.shape == (case.count,)
        assert ((values >= 0) & (values <= 1)).all()
    assert drawn.lam.dtype == drawn.weight.dtype == torch.float32
    left = ~drawn.applied
    assert (drawn.lam_nominal[left] == 1).all()
    assert (drawn.lam[left] == 1).all()
    assert (drawn.weight[left] == 1).all()


@laws(40)
@given(case=cases(alternate=False, content="partner", label={"by": "class_map"}))
def test_weights_by_class_maps_are_shares_of_each_class(case: Case) -> None:
    """Each share is from 0 to 1; the original has all of it where nothing is pasted."""
    drawn = case.draw()
    targets = mix_targets(torch.from_numpy(case.view.labels), drawn, n_classes=4)
    pasted = drawn.partner_weights[0]
    torch.testing.assert_close(targets.sum(dim=1), drawn.weight + pasted)
    for values in (drawn.weight, pasted):
        assert ((values >= -1e-5) & (values <= 1 + 1e-5)).all()
    unmixed = torch.from_numpy(~drawn.applied)
    assert (drawn.weight[unmixed] == 1).all()
    assert (pasted[unmixed] == 0).all()
    left = drawn.lam == 1  # also where a soft mask is almost 0
    torch.testing.assert_close(drawn.weight[left], torch.ones_like(pasted[left]), atol=1e-5, rtol=0)
    torch.testing.assert_close(pasted[left], torch.zeros_like(pasted[left]), atol=1e-5, rtol=0)


@laws()
@given(case=cases(content="partner", label={}))
def test_the_weight_is_the_pasted_share(case: Case) -> None:
    """Sample k is 1 in channel k alone: a channel's mean is the fraction of sample k's pixels."""
    count, _, height_px, width_px = case.view.shape
    images = torch.eye(count)[:, :, None, None].expand(count, count, height_px, width_px).contiguous()
    drawn = case.draw()
    mixed = mix_images(images, drawn)
    targets = mix_targets(torch.arange(count), drawn, n_classes=count)
    torch.testing.assert_close(targets.double(), mixed.double().mean(dim=(2, 3)), rtol=0, atol=5e-6)


@laws()
@given(case=cases())
def test_lam_is_counted_on_the_mask(case: Case) -> None:
    drawn = case.draw()
    shares = 1 - whole_masks(case, drawn).mean(dim=(1, 2, 3))
    torch.testing.assert_close(drawn.lam.double(), shares, rtol=0, atol=1e-6)
    assert drawn.idle == (not drawn.applied.any())


@laws(80)
@given(case=cases(alternate=False, content="partner", label={"lam": "nominal"}))
def test_a_nominal_label_is_what_was_drawn(case: Case) -> None:
    drawn = case.draw()
    assert torch.equal(drawn.weight, torch.from_numpy(drawn.lam_nominal).float())


@laws(80)
@given(case=cases(alternate=False, content="partner"), exponent=EXPONENTS)
def test_the_exponent_changes_labels_alone(case: Case, exponent: float | str) -> None:
    changed = case.mix.model_copy(update={"label": case.mix.label.model_copy(update={"exponent": exponent})})
    plain, other = case.draw(), Case(changed, case.view, case.t, case.seed).draw()
    assert torch.equal(plain.lam, other.lam)
    assert torch.equal(plain.partner, other.partner)
    assert torch.equal(whole_masks(case, plain), whole_masks(case, other))
    area = case.mix.model_copy(update={"label": case.mix.label.model_copy(update={"exponent": 1.0})})
    shown = weights_of(Case(area, case.view, case.t, case.seed).draw())
    weights = weights_of(other)
    order = (weights[:, None] - weights) * (shown[:, None] - shown)
    assert (order >= -1e-6).all()  # the image that shows more does not get less of the label
    assert (weights[shown == 0] == 0).all()


@laws(80)
@given(case=cases(alternate=False, content="zero", label={}, pairing={"kind": "permute"}, source="same"))
def test_without_a_partner_the_label_stays(case: Case) -> None:
    drawn = case.draw()
    images = torch.ones(case.view.shape)
    mixed = mix_images(images, drawn)
    torch.testing.assert_close(mixed.double().mean(dim=(1, 2, 3)), drawn.lam.double(), rtol=0, atol=1e-6)
    assert (drawn.weight == 1).all()


# ---------------------------------------------------------------- pixels


@laws()
@given(case=cases(source="same"))
def test_pixels_are_the_own_ones_and_the_partners_of_the_unmixed_batch(case: Case) -> None:
    """Also if two policies alternate: neither reads pixels that the other one has pasted."""
    images = case.view.images
    assert images is not None
    before, drawn = images.clone(), case.draw()
    mixed = mix_images(images, drawn)
    assert torch.equal(images, before)
    n_pastes = np.zeros(case.count, dtype=int)
    expected, exact = images.clone(), True
    for paste in drawn.pastes:
        rows = samples_of(paste, case.count)
        pasted = images[paste.partner] if paste.content is None else paste.content.expand(len(rows), *images.shape[1:])
        mask, exact = paste.mask.float(), exact and paste.mask.dtype == torch.bool
        blended = expected[rows] * (1 - mask) + pasted * mask
        expected[rows] = torch.where(paste.mask, pasted, expected[rows]) if paste.mask.dtype == torch.bool else blended
        if paste.content is None:
            assert torch.equal(paste.partner, drawn.partners[n_pastes[rows], rows])
        n_pastes[rows] += 1
    torch.testing.assert_close(mixed, expected, rtol=0, atol=0 if exact else 1e-5)
    untouched = torch.from_numpy(~drawn.applied)
    assert torch.equal(mixed[untouched], images[untouched])
    counts = {policy.partners.count for policy in case.mix.policies}
    assert set(n_pastes[drawn.applied]) <= counts, "a sample has the pastes of two policies"


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and torch.equal(ours, theirs)


@laws()
@given(case=cases(), whole_numbers=st.booleans())
def test_every_path_gives_the_same_bits(case: Case, whole_numbers: bool) -> None:
    """Layouts, gradients and reused memory choose the path, never the pixels."""
    assume(not whole_numbers or "noise" not in {policy.content for policy in case.mix.policies})
    images = case.view.images
    assert images is not None
    if whole_numbers:
        images = (images * 60 + 128).clamp(0, 255).to(torch.uint8)
    drawn = case.draw()
    host = mix_images(images, drawn)
    contiguous = images.contiguous()
    assert same_bits(mix_images(contiguous, drawn), host)
    spare = torch.full_like(images, 77)
    assert same_bits(mix_images(images, drawn, out=spare), host)
    assert same_bits(mix_images(images, drawn, out=spare), host)  # what the memory held does not matter
    assert same_bits(mix_images(images, drawn, out=torch.empty_like(images[:0])), host)  # a smaller batch's: not used
    assert same_bits(mix_images(images, drawn, out=torch.full_like(contiguous, 77)), host)
    if not whole_numbers:
        assert same_bits(mix_images(images.clone().requires_grad_(), drawn).detach(), host)
    assert host.is_contiguous(memory_format=torch.channels_last)
    assert mix_images(contiguous, drawn).is_contiguous()


@laws(80)
@given(case=cases(), channels=st.sampled_from([1, 2, 16]))
def test_maps_of_a_network_are_mixed_as_images_are(case: Case, channels: int) -> None:
    """Channel by channel, whatever their number: the draw is that of the image."""
    assume({policy.content for policy in case.mix.policies} == {"partner"})
    images = case.view.images
    assert images is not None
    drawn = case.draw()
    maps = images[:, :1].repeat(1, channels, 1, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    mixed = mix_images(maps, drawn)
    expected = mix_images(images, drawn)[:, :1].expand_as(maps)
    torch.testing.assert_close(mixed, expected, rtol=1e-5, atol=1e-6)
    assert mixed.requires_grad


@laws(80)
@given(case=cases())
def test_a_draw_is_its_generators(case: Case) -> None:
    legacy = np.random.mtrand._rand
    before = legacy.get_state(legacy=False), torch.get_rng_state()
    first, again = case.draw(), case.draw()
    np.testing.assert_equal(legacy.get_state(legacy=False), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    images = case.view.images
    assert images is not None
    assert torch.equal(mix_images(images, first), mix_images(images, again))
    assert torch.equal(first.weight, again.weight)
    assert (first.applied == again.applied).all()


# ---------------------------------------------------------------- sharing


@laws(80)
@given(case=cases(alternate=False, apply={"prob": 1.0}))
def test_what_is_shared(case: Case) -> None:
    drawn = case.draw()
    masks = whole_masks(case, drawn)
    if case.mix.granularity == "pair":
        assert torch.equal(masks, masks.flip(0))
        assert (drawn.lam_nominal == drawn.lam_nominal[::-1]).all()
        assert torch.equal(drawn.partner, torch.arange(case.count).flip(0))
    elif case.mix.granularity == "batch":
        assert torch.equal(masks, masks[:1].expand_as(masks))
        assert len(set(drawn.lam_nominal.tolist())) == 1


@laws(60)
@given(case=cases(alternate=False, granularity="pair", pairing={"kind": "flip"}, content="partner", source="same"))
def test_a_pair_swaps_content(case: Case) -> None:
    """The pixels that one partner loses go to the other: their sum stays the same, with any gate."""
    images = case.view.images
    assert images is not None
    drawn = case.draw()
    assert (drawn.applied == drawn.applied[::-1]).all()
    mixed = mix_images(images, drawn)
    torch.testing.assert_close(mixed + mixed.flip(0), images + images.flip(0))


@laws(60)
@given(data=st.data(), prob=UNIT)
def test_a_pair_changes_over_together(data: st.DataObject, prob: float) -> None:
    shared = {"granularity": "pair", "pairing": {"kind": "flip"}, "content": "partner", "source": "same"}
    case = data.draw(cases(alternate=True, **shared))
    assert case.mix.alternate is not None
    drawn = case.draw()
    assert (drawn.applied == drawn.applied[::-1]).all()
    images = case.view.images
    assert images is not None
    mixed = mix_images(images, drawn)
    torch.testing.assert_close(mixed + mixed.flip(0), images + images.flip(0))
