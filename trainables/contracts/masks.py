"""Laws of mask families, checked at every position that the family supports."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from trainables.contracts.divisions import check_a_division_covers_the_image_once, requested_fracs
from trainables.contracts.global_state import check_no_global_draws
from trainables.contracts.law import Law, require
from trainables.device_paths import tensor_operations
from trainables.mixing.batch_view import BatchView
from trainables.mixing.canvas import Canvas
from trainables.mixing.config import Mix
from trainables.mixing.masks.base import Mask
from trainables.mixing.masks.division import Division
from trainables.mixing.position import RULES

CPU = torch.device("cpu")

UNCUT = ("torus", "inside", "whole")
"""Positions that cut nothing off."""

MAP_SIDES = (5, 6)
"""Height and width of the maps of a network that masks get: those of no image."""

AREA_TOLERANCE = 0.01
"""Largest error of the mean pasted fraction of 2,000 masks."""

LARGEST_DEVIATION = 5
"""Largest deviation of a pixel's frequency on the torus, in standard errors."""


def canvas_of(
    position: str, count: int, *, height: int = 32, width: int = 32, seed: int = 0, device: torch.device = CPU
) -> Canvas:
    """Return a canvas of ``count`` samples with images, boxes and maps; some boxes are empty, as after a crop."""
    images, boxes, maps = _content(count, height, width)
    there = maps.to(device)
    return Canvas(
        height_px=height,
        width_px=width,
        position=RULES[position].model_validate({"kind": position}),
        rng=np.random.default_rng(seed),
        device=device,
        batch=BatchView(
            (count, 3, height, width), np.arange(count) % 3, images.to(device), boxes.copy(), lambda _: there
        ),
        partner=np.roll(np.arange(count), 1),
    )


@functools.lru_cache(maxsize=4)
def _content(count: int, height: int, width: int) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(99)
    images = torch.from_numpy(rng.standard_normal((count, 3, height, width), dtype=np.float32))
    corners = np.sort(rng.integers(0, [[height + 1], [width + 1]], size=(2, 2, count)), axis=0)
    boxes = corners.reshape(4, count).T.copy()
    boxes[::3] = 0
    maps = torch.from_numpy(rng.random((count, *MAP_SIDES), dtype=np.float32))
    return images, boxes, maps


def drawn_masks(mask: Mask, fractions: np.ndarray, canvas: Canvas) -> torch.Tensor:
    """Return the masks of a family for fractions of the image, float64 [n]; those of all partners of a division."""
    return mask.draw(requested_fracs(mask, fractions), canvas)


def check_shape_and_values(mask: Mask) -> None:
    """Check that there is one mask per sample, bool or float32 in [0, 1], that broadcasts to [B, 1, H, W]."""
    for position in mask.positions:
        for height, width in ((16, 16), (9, 31), (40, 8), (1, 1), (1, 3)):
            for count in (1, 7):
                fractions = np.random.default_rng(1).uniform(size=count)
                drawn = drawn_masks(mask, fractions, canvas_of(position, count, height=height, width=width))
                where = f"position '{position}', {count} images of {height}x{width} px"
                _require_masks(drawn, (count, mask.n_partners or 1), height, width, where)


def _require_masks(drawn: Any, counts: tuple[int, int], height: int, width: int, where: str) -> None:
    require(isinstance(drawn, torch.Tensor), f"{where}: draw returned {type(drawn).__name__}, not a tensor")
    shape = tuple(drawn.shape)
    valid = [(*counts, *sides) for sides in ((height, width), (1, 1))]
    require(shape in valid, f"{where}: the shape is {shape}, but must be one of {valid}")
    require(drawn.dtype in (torch.bool, torch.float32), f"{where}: the type is {drawn.dtype}")
    require(drawn.device == CPU, f"{where}: the masks are on {drawn.device}, not on the device of the canvas")
    require(drawn.isfinite().all(), f"{where}: a value is not finite")
    values = drawn.float()
    require(((values >= 0) & (values <= 1)).all(), f"{where}: values from {values.min():g} to {values.max():g}")


def check_any_fraction(mask: Mask) -> None:
    """Check that any fractions on images of any size give values in [0, 1], without error."""
    rng = np.random.default_rng(5)
    for position in mask.positions:
        for seed in range(20):
            height, width = (int(side) for side in rng.integers(1, 25, size=2))
            fractions = rng.choice([0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, *rng.uniform(size=3)], size=int(rng.integers(1, 6)))
            canvas = canvas_of(position, len(fractions), height=height, width=width, seed=seed)
            drawn = drawn_masks(mask, fractions, canvas)
            where = f"position '{position}', fractions {fractions.tolist()}, {height}x{width} px"
            _require_masks(drawn, (len(fractions), mask.n_partners or 1), height, width, where)


def check_nothing_at_zero(mask: Mask) -> None:
    """Check that nothing is pasted at fraction 0."""
    for position in mask.positions:
        for height, width in ((16, 16), (9, 31)):
            canvas = canvas_of(position, 50, height=height, width=width)
            largest = drawn_masks(mask, np.zeros(50), canvas).float().max().item()
            require(largest == 0, f"position '{position}', {height}x{width} px: a pixel has {largest:g}")


def check_everything_at_one(mask: Mask) -> None:
    """Check that the whole image is pasted at fraction 1 where neither the border nor a box cuts anything off."""
    for position in () if mask.needs == "boxes" else _uncut(mask):
        for height, width in ((16, 16), (9, 31)):
            canvas = canvas_of(position, 50, height=height, width=width)
            smallest = drawn_masks(mask, np.ones(50), canvas).float().amax(dim=1).min().item()
            require(smallest == 1, f"position '{position}', {height}x{width} px: a pixel has {smallest:g}")


def check_exact_area(mask: Mask) -> None:
    """Check that the mean pasted fraction is the requested one where nothing is cut off, if ``exact_area`` says so."""
    for position in _uncut(mask) if mask.exact_area else ():
        for height, width in ((32, 32), (24, 40)):
            for fraction in (0.1, 0.3, 0.5, 0.9):
                mean = _mean_fraction(mask, position, fraction, height=height, width=width)
                require(
                    abs(mean - fraction) <= AREA_TOLERANCE,
                    f"position '{position}', {height}x{width} px: {mean:.3f} is pasted instead of {fraction}",
                )


def check_clipping_never_adds(mask: Mask) -> None:
    """Check that no position pastes more than requested, if ``exact_area`` says that the area is exact."""
    for position in mask.positions if mask.exact_area else ():
        for fraction in (0.1, 0.5, 0.9):
            mean = _mean_fraction(mask, position, fraction, height=24, width=40)
            require(
                mean < fraction + AREA_TOLERANCE,
                f"position '{position}': {mean:.3f} is pasted, but only {fraction} was requested",
            )


def check_inexact_area_is_declared_rightly(mask: Mask) -> None:
    """Check that a family with ``exact_area = False`` has another area, which grows with the requested one."""
    uncut = _uncut(mask)
    if mask.exact_area or not uncut or isinstance(mask, Division):  # borders of a division are rounded to pixels
        return
    wanted = np.array([0.3, 0.5, 0.7])
    means = [_mean_fraction(mask, uncut[0], fraction, height=24, width=40) for fraction in wanted]
    require(np.abs(means - wanted).max() > AREA_TOLERANCE, "the area is exact: declare exact_area = True")
    require(means == sorted(means), f"fractions 0.3, 0.5 and 0.7 give {', '.join(f'{mean:.3f}' for mean in means)}")


def check_equal_places_on_the_torus(mask: Mask) -> None:
    """Check that on the torus every pixel is pasted equally often."""
    for fraction in (0.1, 0.6) if "torus" in mask.positions else ():
        drawn = drawn_masks(mask, np.full(10_000, fraction), canvas_of("torus", 10_000, height=10, width=14))
        deviation = largest_deviation(drawn)
        require(
            deviation < LARGEST_DEVIATION,
            f"fraction {fraction}: a pixel is {deviation:.1f} standard errors from the mean of 10,000 masks",
        )


def largest_deviation(drawn: torch.Tensor) -> float:
    """Return how far the pixel furthest from the average is away from it, in standard errors."""
    weights = drawn.double().flatten(1)
    each = weights.mean(dim=0)
    errors = weights.std(dim=0).clamp(min=1e-6) / len(weights) ** 0.5
    return float(((each - each.mean()).abs() / errors).max())


def check_generator_decides_alone(mask: Mask) -> None:
    """Check that ``canvas.rng`` is the only source of randomness, and the requested fractions stay unchanged."""
    fractions = np.linspace(0.1, 0.9, 8)
    for number, position in enumerate(mask.positions):
        # a size of its own: a bank that is made once per size must not draw from the generator either
        height, width = 11, 40 + number
        with check_no_global_draws(f"position '{position}'"):
            first = drawn_masks(mask, fractions, canvas_of(position, 8, seed=3, height=height, width=width))
        drawn_masks(mask, fractions, canvas_of(position, 8, seed=4, height=height, width=width))
        with torch.random.fork_rng():
            torch.manual_seed(99)
            again = drawn_masks(mask, fractions, canvas_of(position, 8, seed=3, height=height, width=width))
        require(torch.equal(first, again), f"position '{position}': two draws with the same generator differ")
        require(
            fractions.tolist() == np.linspace(0.1, 0.9, 8).tolist(), f"position '{position}': draw changed its input"
        )


def check_samples_have_their_own_masks(mask: Mask) -> None:
    """Check that samples do not share a mask if anything about it is random."""
    for position in mask.positions:
        canvas = canvas_of(position, 40)
        before = canvas.rng.bit_generator.state
        drawn = drawn_masks(mask, np.full(40, 0.35), canvas).float().flatten(1).numpy()
        n_masks = len(np.unique(drawn, axis=0))
        if canvas.rng.bit_generator.state == before:  # nothing is drawn: then nothing may differ, unless it is seen
            sees = RULES[position].needs or mask.needs
            require(sees or n_masks == 1, f"position '{position}': masks differ, but not by canvas.rng")
        else:  # bands have no more than 32 places
            require(n_masks > 15, f"position '{position}': 40 samples have only {n_masks} different masks")


def check_parameters_have_fixed_shapes(mask: Mask) -> None:
    """Check that names, types and shapes of parameters are the same for all draws, with one row per sample."""
    for position in mask.positions if mask.has_parameters() else ():
        forms = []
        for seed, fractions in enumerate((np.zeros(7), np.ones(7), np.linspace(0.1, 0.9, 7))):
            drawn = mask.parameters(
                requested_fracs(mask, fractions), canvas_of(position, 7, height=9, width=14, seed=seed)
            )
            wrong = [name for name, values in drawn.items() if not isinstance(values, np.ndarray) or len(values) != 7]
            require(not wrong, f"position '{position}': not a NumPy array with one row per sample: {', '.join(wrong)}")
            forms.append({name: f"{values.dtype} {values.shape}" for name, values in drawn.items()})
        for form in forms[1:]:
            require(form == forms[0], f"position '{position}': one draw has {forms[0]}, another one {form}")


def check_draw_is_parameters_rendered(mask: Mask) -> None:
    """Check that `draw` equals `render` of the parameters, which is pure and renders each row by itself."""
    fractions = np.append(np.random.default_rng(2).uniform(size=14), [0.0, 1.0])
    for position in mask.positions if mask.has_parameters() else ():
        for height, width in ((16, 16), (9, 31)):
            where = f"position '{position}', {height}x{width} px"
            canvas, other = (canvas_of(position, 16, height=height, width=width) for _ in range(2))
            drawn, parameters = drawn_masks(mask, fractions, canvas), _on_cpu(mask, fractions, other)
            before = {name: values.clone() for name, values in parameters.items()}
            generators = [each.rng.bit_generator.state for each in (canvas, other)]
            require(generators[0] == generators[1], f"{where}: render draws from a generator")
            for _ in range(2):
                rendered = mask.render(parameters, height, width)
                require(torch.equal(drawn, rendered), f"{where}: draw and render differ")
            changed = [name for name, values in before.items() if not torch.equal(values, parameters[name])]
            require(not changed, f"{where}: render changes its input: {', '.join(changed)}")
            constants = mask.constants(height, width, CPU)
            part = {name: values if name in constants else values[3:11] for name, values in parameters.items()}
            same = torch.equal(drawn[3:11], mask.render(part, height, width))
            require(same, f"{where}: a part of the parameters does not give the same part of the masks")


def _on_cpu(mask: Mask, fractions: np.ndarray, canvas: Canvas) -> dict[str, torch.Tensor]:
    """Return all that ``render`` gets."""
    drawn = mask.parameters(requested_fracs(mask, fractions), canvas)
    parameters = {name: torch.from_numpy(values) for name, values in drawn.items()}
    parameters |= mask.constants(canvas.height_px, canvas.width_px, CPU)
    assert canvas.partner is not None
    return parameters | mask.seen(canvas.batch, torch.from_numpy(canvas.partner))


def check_accelerator_draws_the_same(mask: Mask) -> None:
    """Check that the tensor operations of an accelerator give the same masks as the functions of the host."""
    fractions = np.append(np.random.default_rng(2).uniform(size=62), [0.0, 1.0])
    for position in mask.positions:
        for height, width in ((32, 32), (9, 31)):
            host, there = (canvas_of(position, 64, height=height, width=width) for _ in range(2))
            drawn = drawn_masks(mask, fractions, host)
            with tensor_operations():
                same = torch.equal(drawn, drawn_masks(mask, fractions, there))
            require(same, f"position '{position}', {height}x{width} px: the masks differ")


def check_no_wait_for_the_device(mask: Mask) -> None:
    """Check that no value is read back from the device, unless a family with its own `draw` sees images."""
    for position in mask.positions:
        if not mask.has_parameters() and {"images", "maps"} & {mask.needs, RULES[position].needs}:
            continue
        canvas = canvas_of(position, 6, height=8, width=12, device=torch.device("meta"))
        drawn = drawn_masks(mask, np.linspace(0, 1, 6), canvas)  # reading a value back from this device fails
        require(drawn.device.type == "meta", f"position '{position}': the masks are not on the device of the canvas")


def check_gpu_draws_the_same(mask: Mask) -> None:
    """Check that a GPU, if there is one, draws the same masks."""
    fractions = np.random.default_rng(2).uniform(size=32)
    for position in mask.positions if torch.cuda.is_available() else ():
        mine, theirs = (
            drawn_masks(mask, fractions, canvas_of(position, 32, device=torch.device(device)))
            for device in ("cpu", "cuda")
        )
        require(theirs.device.type == "cuda", f"position '{position}': the masks are on {theirs.device}")
        difference = (theirs.cpu().float() - mine.float()).abs().max().item()
        require(difference <= 1e-6, f"position '{position}': masks differ by {difference:g}")


def check_frozen_and_kept_by_json(mask: Mask) -> None:
    """Check that the configuration cannot be changed, takes no unknown key, and survives JSON."""
    try:
        setattr(mask, "family", "other")  # noqa: B010
    except ValidationError:
        pass
    else:
        require(False, "its fields can be changed: keep the model_config of Mask")
    try:
        type(mask).model_validate({**mask.model_dump(), "no_such_key": 3})
    except ValidationError:
        pass
    else:
        require(False, "it takes an unknown key: keep the model_config of Mask")
    require(type(mask).model_validate_json(mask.model_dump_json()) == mask, "JSON gives another configuration")


def check_policy_accepts_it(mask: Mask) -> None:
    """Check that a mixing policy takes the family at each of its positions, and survives JSON."""
    for position in mask.positions:
        require(position in RULES, f"positions contains '{position}'; valid: {', '.join(RULES)}")
        mix = Mix.model_validate(
            {"mask": mask.model_dump(), "position": {"kind": position}, "partners": {"count": mask.n_partners or 1}}
        )
        require(type(mix.mask) is type(mask), f"position '{position}': the policy has {mix.mask!r}")
        require(
            Mix.model_validate_json(mix.model_dump_json()) == mix, f"position '{position}': JSON changes the policy"
        )


def _uncut(mask: Mask) -> Sequence[str]:
    return [position for position in mask.positions if position in UNCUT]


def _mean_fraction(mask: Mask, position: str, fraction: float, *, height: int, width: int) -> float:
    drawn = drawn_masks(mask, np.full(2000, fraction), canvas_of(position, 2000, height=height, width=width))
    return drawn.float().mean().item()


LAWS: tuple[Law[Mask], ...] = (
    check_shape_and_values,
    check_any_fraction,
    check_nothing_at_zero,
    check_everything_at_one,
    check_exact_area,
    check_clipping_never_adds,
    check_inexact_area_is_declared_rightly,
    check_a_division_covers_the_image_once,
    check_equal_places_on_the_torus,
    check_generator_decides_alone,
    check_samples_have_their_own_masks,
    check_parameters_have_fixed_shapes,
    check_draw_is_parameters_rendered,
    check_accelerator_draws_the_same,
    check_no_wait_for_the_device,
    check_gpu_draws_the_same,
    check_frozen_and_kept_by_json,
    check_policy_accepts_it,
)
