"""Doses agree with closed forms where there are any, and their errors are honest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.image_set import ImageSet
from trainables.mixing import dose as dosing
from trainables.mixing.config import Mix
from trainables.mixing.dose import Dose, mean_dose, measure_dose, measure_exposure
from trainables.mixing.estimates import Estimate
from trainables.mixing.mask_geometry import boundary_px, coverage_of, regions
from trainables.mixing.pastes import MixDraw

PX = 32
TORUS = {"position": {"kind": "torus"}}
ESTIMATES = [field.name for field in dataclasses.fields(Dose) if field.type == "Estimate"]


def dose_of(*, height_px: int = PX, width_px: int = PX, seed: int = 0, **parts: Any) -> Dose:
    n_samples = parts.pop("n_samples", None)
    data = parts.pop("data", None)
    mix = Mix.model_validate(parts)
    return measure_dose(mix, height_px=height_px, width_px=width_px, data=data, n_samples=n_samples, seed=seed)


def assert_is(estimate: Estimate, value: float, *, abs_: float = 0.0) -> None:
    """Within four standard errors, which must themselves be small."""
    assert estimate.se < 0.02 * max(value, 0.1)
    assert estimate.value == pytest.approx(value, abs=4 * estimate.se + abs_)


def exact_coverage(of_axis: Callable[[float, float], float], length_px: int = PX) -> np.ndarray:
    """Chance of each pixel to be covered by a square box of area uniform on [0, 1]: float [L, L]."""
    sides = np.sqrt((np.arange(2000) + 0.5) / 2000)
    pixels = (np.arange(length_px) + 0.5) / length_px
    chances = np.array([[of_axis(side, pixel) for pixel in pixels] for side in sides])
    return np.asarray(np.einsum("ni,nj->ij", chances, chances) / len(sides))


def by_clipping(side: float, pixel: float) -> float:
    return min(1.0, pixel + side / 2) - max(0.0, pixel - side / 2)


def inside(side: float, pixel: float) -> float:
    """The centre stays half a side from the borders, the side rounded down to whole pixels."""
    half = math.floor(side * PX) / PX / 2
    low, high = max(half, pixel - side / 2), min(1 - half, pixel + side / 2)
    return max(0.0, high - low) / (1 - 2 * half)


class TestClosedForms:
    def test_clipped_box(self) -> None:
        measured = dose_of(n_samples=100_000)
        assert_is(measured.pasted_frac, 1 / 2 - 1 / 5 + 1 / 48, abs_=2e-4)  # 0.3208; 2e-4 for the grid of pixels
        assert measured.mean_prob == 1

    @pytest.mark.parametrize(("position", "of_axis"), [("clip", by_clipping), ("inside", inside)])
    def test_coverage_of_a_box(self, position: str, of_axis: Callable[[float, float], float]) -> None:
        measured = dose_of(position={"kind": position}, n_samples=40_000)
        exact = exact_coverage(of_axis)
        error = np.sqrt(exact * (1 - exact) / measured.n_samples)
        assert np.abs((measured.coverage - exact) / error).max() < 5
        assert_is(measured.coverage_centre, exact[15:17, 15:17].mean())
        assert_is(measured.coverage_edge, exact[0, 15:17].mean())
        assert_is(measured.coverage_corner, exact[0, 0])
        assert_is(measured.pasted_frac, exact.mean())

    def test_coverage_of_published_code(self) -> None:
        """Boxes of whole pixels, at the pixels (16, 16), (0, 16) and (0, 0): .46, .25 and .13."""
        coverage = dose_of(mask={"family": "box", "whole_px": True}, n_samples=40_000).coverage
        assert [coverage[16, 16], coverage[0, 16], coverage[0, 0]] == pytest.approx([0.46, 0.25, 0.135], abs=0.01)

    @pytest.mark.parametrize(("height_px", "width_px"), [(32, 32), (16, 48)])
    def test_torus(self, height_px: int, width_px: int) -> None:
        measured = dose_of(**TORUS, height_px=height_px, width_px=width_px, n_samples=20_000)
        assert_is(measured.pasted_frac, 0.5)
        assert_is(measured.exposure, 0.25, abs_=1e-3)  # slightly lower: whole pixels spread fractions
        error = 0.5 / math.sqrt(measured.n_samples)
        assert measured.coverage.shape == (height_px, width_px)
        assert np.abs(measured.coverage - 0.5).max() < 5 * error

    def test_mixup(self) -> None:
        measured = dose_of(preset="mixup", n_samples=20_000)
        assert_is(measured.exposure, 0.25)
        assert_is(measured.label_entropy, 0.5)  # nats: the mean binary entropy of a uniform fraction
        assert_is(measured.pasted_frac, 0.5)
        assert measured.boundary_px == (0, 0)

    def test_a_fixed_box_on_the_torus(self) -> None:
        measured = dose_of(preset="cutout", **TORUS)
        assert measured.pasted_frac == pytest.approx((0.25, 0), abs=1e-9)
        assert measured.nothing_pasted == (0, 0)
        mixed = dose_of(size={"kind": "fixed", "frac": 0.25}, **TORUS)
        assert mixed.exposure == pytest.approx((0.25, 0), abs=1e-6)
        entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
        assert mixed.label_entropy == pytest.approx((entropy, 0), abs=1e-6)

    def test_boundary_of_a_box_inside(self) -> None:
        """Four sides of 16 px, each flush with the image's border in one draw of 32."""
        measured = dose_of(size={"kind": "fixed", "frac": 0.25}, position={"kind": "inside"}, n_samples=20_000)
        assert_is(measured.boundary_px, 64 - 4 * 16 / 32)

    def test_nothing_pasted(self) -> None:
        """At 4 px a box on the torus of side s covers no pixel's centre with chance 1 - s^2 where s < 1."""
        frac = 0.5 / 16
        measured = dose_of(size={"kind": "fixed", "frac": frac}, height_px=4, width_px=4, n_samples=20_000, **TORUS)
        assert_is(measured.nothing_pasted, 0.5)
        assert_is(measured.pasted_frac, frac)


class TestLabels:
    def test_complete_label(self) -> None:
        measured = dose_of(preset="mixup", label={"exponent": 0.0})
        assert measured.exposure == pytest.approx((0.5, 0))
        assert measured.label_entropy == pytest.approx((math.log(2), 0))

    def test_one_hot(self) -> None:
        measured = dose_of(preset="mixup", label={"exponent": "inf"})
        assert measured.exposure == (0, 0)
        assert measured.label_entropy == (0, 0)
        assert_is(measured.pasted_frac, 0.5)

    def test_nominal_share(self) -> None:
        measured = dose_of(label={"lam": "nominal"}, n_samples=20_000)  # the label of the drawn box, before clipping
        assert_is(measured.exposure, 0.25)
        assert measured.pasted_frac.value < 0.33

    @pytest.mark.parametrize("preset", ["cutout", "random_erasing"])
    def test_content_of_no_class_leaves_the_label(self, preset: str) -> None:
        measured = dose_of(preset=preset)
        assert measured.exposure == (0, 0)
        assert measured.label_entropy == (0, 0)
        assert measured.pasted_frac.value > 0.05


class TestOverTheRun:
    SCHEDULES = (
        ({}, 1.0),
        ({"ramp_up_end": 1.0}, 0.5),
        ({"ramp_down_start": 0.0}, 0.5),
        ({"ramp_down_start": 0.9, "ramp_down_end": 0.9}, 0.9),
        ({"ramp_up_start": 0.1, "ramp_up_end": 0.3, "ramp_down_start": 0.5, "ramp_down_end": 0.9}, 0.5),
    )

    @pytest.mark.parametrize(("schedule", "mean"), SCHEDULES)
    def test_probability_and_schedule_are_exact_factors(self, schedule: dict[str, float], mean: float) -> None:
        always = dose_of()
        measured = dose_of(apply={"prob": 0.3, "schedule": schedule, "gate": "batch"})
        assert measured.mean_prob == pytest.approx(0.3 * mean)
        for name in ("pasted_frac", "exposure", "label_entropy"):
            assert getattr(measured, name) == pytest.approx([0.3 * mean * part for part in getattr(always, name)])
        for name in ("nothing_pasted", "boundary_px", "coverage_centre", "coverage_edge", "coverage_corner"):
            assert getattr(measured, name) == getattr(always, name)
        assert np.array_equal(measured.coverage, always.coverage)

    def test_off(self) -> None:
        measured = dose_of(preset="off")
        assert measured.mean_prob == measured.n_samples == 0
        assert all(getattr(measured, name) == (name == "nothing_pasted", 0) for name in ESTIMATES)
        assert not measured.coverage.any()

    def test_alternation(self) -> None:
        first = {"preset": "mixup", "apply": {"prob": 0.5}}
        second = {"preset": "cutmix", **TORUS, "apply": {"prob": 0.8}}
        measured = dose_of(**first, alternate={"prob": 0.25, "mix": second})
        mixup, cutmix = dose_of(preset="mixup"), dose_of(**(second | {"apply": {"prob": 1.0}}))
        assert measured.mean_prob == pytest.approx(0.75 * 0.5 + 0.25 * 0.8)
        exposure = 0.75 * 0.5 * mixup.exposure.value + 0.25 * 0.8 * cutmix.exposure.value
        assert_is(measured.exposure, exposure, abs_=4 * measured.exposure.se)
        of_cutmix = 0.2 / measured.mean_prob  # fraction of the mixed samples
        assert_is(measured.boundary_px, of_cutmix * cutmix.boundary_px.value, abs_=4 * measured.boundary_px.se)
        assert measured.boundary_px.se == pytest.approx(of_cutmix * cutmix.boundary_px.se, rel=0.5)
        coverage = (1 - of_cutmix) * mixup.coverage + of_cutmix * cutmix.coverage
        np.testing.assert_allclose(measured.coverage, coverage, atol=0.05)

    def test_alternation_with_nothing(self) -> None:
        half = dose_of(preset="cutmix", alternate={"prob": 0.5, "mix": {"preset": "off"}})
        whole = dose_of(preset="cutmix")
        assert half.exposure.value == pytest.approx(whole.exposure.value / 2)
        assert half.boundary_px == whole.boundary_px

    @pytest.mark.parametrize(
        "parts",
        [
            {"granularity": "batch"},
            {"granularity": "pair", "pairing": {"kind": "flip"}},
            {"pairing": {"kind": "derange"}},
            {"source": "displaced"},
            {"layer": 2},
            {"layer": [0, 1]},
        ],
        ids=str,
    )
    def test_what_changes_no_expectation_changes_nothing(self, parts: dict[str, Any]) -> None:
        assert dose_of(**parts).as_columns() == dose_of().as_columns()


POLICIES = {
    "clipped box": {},
    "soft box": TORUS | {"mask": {"family": "box", "edge_px": 4.0}},
    "two policies": {"preset": "torchvision"},
    "two that are alike": {"alternate": {"mix": {"preset": "cutmix", "apply": {"prob": 1.0}}}},
}


@pytest.mark.parametrize("parts", POLICIES.values(), ids=POLICIES.keys())
def test_errors_are_honest(parts: dict[str, Any]) -> None:
    """The spread of 60 measurements is what each says of itself."""
    repeats = [dose_of(**parts, seed=seed, n_samples=512) for seed in range(60)]
    for name in ESTIMATES:
        values = np.array([getattr(measured, name).value for measured in repeats])
        stated = math.sqrt(np.mean([getattr(measured, name).se ** 2 for measured in repeats]))
        if stated > 1e-3 * values.mean():  # values that differ only by rounding have no distribution
            assert 0.7 < values.std(ddof=1) / stated < 1.3, name


def test_errors_fall_with_the_number_of_samples() -> None:
    few, many = dose_of(n_samples=1000), dose_of(n_samples=64_000)
    assert (few.n_samples, many.n_samples) == (1024, 64_000)
    assert few.coverage_edge.se / many.coverage_edge.se == pytest.approx(8, rel=0.5)


def test_a_law_of_sizes_is_spread_but_kept() -> None:
    law = Mix.model_validate({"size": {"kind": "beta", "alpha": 0.3, "beta": 0.8}}).size
    rng = np.random.default_rng(0)
    spread = np.concatenate([dosing._Spread(law).draw(128, rng) for _ in range(400)])
    plain = law.draw(51_200, rng)
    np.testing.assert_allclose(np.quantile(spread, LEVELS), np.quantile(plain, LEVELS), atol=0.01)
    means = [dosing._Spread(law).draw(128, rng).mean() for _ in range(100)]
    assert np.std(means) < 0.5 * plain.std() / math.sqrt(128)


LEVELS = np.linspace(0.05, 0.95, 10)


class TestMeasurement:
    def test_equal_seeds_measure_alike_and_others_do_not(self) -> None:
        dosing._policy_dose.cache_clear()
        first = dose_of(seed=5)
        dosing._policy_dose.cache_clear()
        again, other = dose_of(seed=5), dose_of(seed=6)
        assert first.as_columns() == again.as_columns()
        assert np.array_equal(first.coverage, again.coverage)
        assert first.exposure.value != other.exposure.value

    def test_arms_that_differ_in_probability_are_measured_once(self) -> None:
        dose_of(preset="cutmix")
        misses = dosing._policy_dose.cache_info().misses
        dose_of(preset="cutmix", apply={"prob": 0.123})
        assert dosing._policy_dose.cache_info().misses == misses

    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("shape", [(5, 1, 6, 9), (5, 1, 1, 1), (5, 1, 6, 1), (5, 1, 1, 9)])
    def test_boundary_counts_neighbours(self, soft: bool, shape: tuple[int, ...]) -> None:
        mask = np.random.default_rng(0).random(shape, dtype=np.float32)
        mask = mask if soft else mask < 0.5
        whole = np.broadcast_to(mask, (5, 1, 6, 9)).astype(float)
        pairs = sum(np.abs(np.diff(image, axis=axis)).sum() for image in whole[:, 0] for axis in (0, 1))
        assert boundary_px(mask, 6, 9) == pytest.approx(pairs / 5)
        np.testing.assert_allclose(coverage_of(mask, 6, 9), whole.mean(axis=(0, 1)), rtol=1e-6)

    @pytest.mark.parametrize(("height", "width"), [(5, 4), (4, 5), (2, 7), (1, 1)])
    def test_regions_lie_alike(self, height: int, width: int) -> None:
        y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
        distance = np.abs(y)[:, None] / height + np.abs(x) / width
        centre, edge, corner = regions(distance)
        assert centre == distance.min()
        assert corner == distance.max()
        assert edge == pytest.approx((centre + corner) / 2)

    def test_exposure_alone(self) -> None:
        mix = Mix.model_validate({"preset": "cutmix", "apply": {"prob": 0.4}})
        alone = measure_exposure(mix, height_px=PX, width_px=PX, seed=1)
        assert alone.se <= dosing.EXPOSURE_RELATIVE_SE * alone.value
        whole = measure_dose(mix, height_px=PX, width_px=PX, n_samples=50_000, seed=2).exposure
        assert abs(alone.value - whole.value) < 4 * math.hypot(alone.se, whole.se)

    def test_exposure_of_what_does_not_mix_labels(self) -> None:
        for preset in ("off", "cutout"):
            assert measure_exposure(Mix.model_validate(preset), height_px=PX, width_px=PX) == (0, 0)

    def test_columns(self) -> None:
        measured = dose_of(preset="cutmix")
        columns = measured.as_columns()
        assert all(type(value) is float and math.isfinite(value) for value in columns.values())
        assert columns["dose_exposure"] == measured.exposure.value
        assert columns["dose_exposure_se"] == measured.exposure.se
        assert columns["dose_mean_prob"] == 0.5
        assert columns["dose_nothing_pasted"] == measured.nothing_pasted.value

    def test_mean_of_several(self) -> None:
        """Its error is that of one: measurements of one seed err together."""
        doses = [dose_of(preset=preset) for preset in ("cutmix", "mixup", "off")]
        mean = mean_dose(doses)
        assert mean.mean_prob == pytest.approx(1.5 / 3)
        for name in ESTIMATES:
            values, errors = zip(*(getattr(measured, name) for measured in doses), strict=True)
            assert getattr(mean, name) == pytest.approx((np.mean(values), np.mean(errors)))
        np.testing.assert_allclose(mean.coverage, np.mean([measured.coverage for measured in doses], axis=0))
        one, same = doses[0], mean_dose([doses[0]] * 16)
        assert same.exposure == pytest.approx(one.exposure)


@settings(max_examples=40, deadline=None)
@given(
    family=st.sampled_from(["box", "flat"]),
    position=st.sampled_from(["clip", "inside", "torus", "spill"]),
    size=st.one_of(
        st.builds(lambda a: {"kind": "beta", "alpha": a}, st.floats(0.05, 5)),
        st.builds(lambda f: {"kind": "fixed", "frac": f}, st.floats(0, 1)),
    ),
    exponent=st.one_of(st.floats(0, 8), st.just("inf")),
    prob=st.floats(0.01, 1),
    height_px=st.integers(1, 12),
    width_px=st.integers(1, 12),
)
def test_laws(
    family: str,
    position: str,
    size: dict[str, Any],
    exponent: float | str,
    prob: float,
    height_px: int,
    width_px: int,
) -> None:
    measured = dose_of(
        mask={"family": family},
        position={"kind": "whole" if family == "flat" else position},
        size=size,
        label={"exponent": exponent},
        apply={"prob": prob},
        height_px=height_px,
        width_px=width_px,
        n_samples=64,
    )
    assert measured.mean_prob == pytest.approx(prob)
    assert measured.pasted_frac.value == pytest.approx(prob * measured.coverage.mean(), abs=1e-5)
    assert 0 <= measured.exposure.value <= prob / 2 + 1e-9
    assert 0 <= measured.label_entropy.value <= prob * math.log(2) + 1e-9
    assert 2 * math.log(2) * measured.exposure.value <= measured.label_entropy.value + 1e-6  # entropy is concave
    for name in ("nothing_pasted", "coverage_centre", "coverage_edge", "coverage_corner"):
        assert -1e-9 <= getattr(measured, name).value <= 1 + 1e-6
    assert all(getattr(measured, name).se >= 0 for name in ESTIMATES)


class TestWhatIsLookedAt:
    @pytest.fixture
    def data(self) -> ImageSet:
        """Grey images, each with one bright spot at row 6, column 20, and an object around it."""
        images = np.full((40, PX, PX, 3), 100, dtype=np.uint8)
        images[:, 5:8, 19:22] = 255
        ones = np.ones(3, dtype=np.float32)
        boxes = np.tile(np.array([4, 18, 9, 23], dtype=np.int32), (40, 1))
        return ImageSet(images, np.arange(40) % 2, ("a", "b"), boxes, mean=0.4 * ones, std=0.1 * ones)

    @pytest.mark.parametrize("kind", ["saliency", "object"])
    def test_boxes_lie_where_the_data_say(self, data: ImageSet, kind: str) -> None:
        measured = dose_of(size={"kind": "fixed", "frac": 1 / 16}, position={"kind": kind}, data=data)
        middle = np.average(np.argwhere(measured.coverage), axis=0, weights=measured.coverage[measured.coverage > 0])
        assert middle.tolist() == pytest.approx([6, 20], abs=1)
        assert measured.coverage[20:].max() == 0

    @pytest.mark.parametrize(("kind", "needed"), [("saliency", "images"), ("object", "boxes")])
    def test_data_are_asked_for(self, kind: str, needed: str) -> None:
        with pytest.raises(ValueError, match=f"needs the partners' {needed}: .* without data"):
            dose_of(position={"kind": kind})

    def test_saliency_stands_in_for_maps_of_a_network(self, data: ImageSet) -> None:
        attended = dose_of(preset="attentivemix", data=data)
        assert attended.pasted_frac.value == pytest.approx(6 / 49, abs=0.01)
        assert attended.coverage[6, 20] == 1
        labelled = dose_of(preset="snapmix", data=data)
        by_area = dose_of(preset="snapmix", label={"by": "area"}, data=data)
        assert labelled.pasted_frac.value == pytest.approx(by_area.pasted_frac.value, abs=0.01)
        assert labelled.exposure.value < 0.7 * by_area.exposure.value  # the spot is seen or it is not
        with pytest.raises(ValueError, match=r"needs the partners' maps: .* without data"):
            dose_of(preset="snapmix")

    def test_both_boxes_have_sizes_of_their_own(self, data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sizes of a box and of the region that it shows are as independent as in training."""
        sizes: list[tuple[float, float]] = []
        plain = dosing.draw_mix

        def kept(*args: Any, **options: Any) -> MixDraw:
            (paste,) = (drawn := plain(*args, **options)).pastes
            covered, shown = paste.mask[:, 0], paste.source.within(PX, PX)  # type: ignore[union-attr]
            sizes.extend(zip(*(each.float().mean(dim=(1, 2)).tolist() for each in (covered, shown)), strict=True))
            return drawn

        monkeypatch.setattr(dosing, "draw_mix", kept)
        dose_of(preset="snapmix", data=data, n_samples=2000, seed=3)
        assert abs(np.corrcoef(np.array(sizes).T)[0, 1]) < 0.1

    def test_boxes_are_asked_for(self, data: ImageSet) -> None:
        with pytest.raises(ValueError, match="needs the partners' boxes"):
            dose_of(position={"kind": "object"}, data=dataclasses.replace(data, boxes=None))

    def test_data_of_another_size_are_refused(self, data: ImageSet) -> None:
        with pytest.raises(ValueError, match=r"\(32, 32\) pixels.* \(16, 32\)"):
            dose_of(position={"kind": "saliency"}, data=data, height_px=16)

    def test_data_nobody_looks_at_do_not_matter(self, data: ImageSet) -> None:
        assert dose_of(data=data, height_px=16).as_columns() == dose_of(height_px=16).as_columns()

    def test_the_other_policy_may_look(self, data: ImageSet) -> None:
        parts = {"preset": "mixup", "alternate": {"mix": {"preset": "cutmix", "position": {"kind": "saliency"}}}}
        with pytest.raises(ValueError, match="needs the partners' images"):
            dose_of(**parts)
        assert dose_of(**parts, data=data).mean_prob == pytest.approx(0.75)
