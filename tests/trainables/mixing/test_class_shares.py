"""SnapMix: shares of class maps by the paper's sums, in loops, and a region of the partner in a box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.class_shares import class_shares, percent_maps
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.pastes import MixDraw
from trainables.mixing.source import Resized

CPU = torch.device("cpu")
COUNT, HEIGHT_PX, WIDTH_PX = 12, 20, 14
MAPS = torch.from_numpy(np.random.default_rng(0).standard_normal((COUNT, 5, 4), dtype=np.float32))
IMAGES = torch.from_numpy(np.random.default_rng(1).standard_normal((COUNT, 3, HEIGHT_PX, WIDTH_PX), dtype=np.float32))
LABELS = torch.arange(COUNT) % 5


def drawn(seed: int = 0, maps: Tensor = MAPS, **parts: object) -> MixDraw:
    mix = Mix.model_validate({"preset": "snapmix", **parts})
    view = BatchView((COUNT, 3, HEIGHT_PX, WIDTH_PX), LABELS.numpy(), IMAGES, maps=lambda _: maps)
    return draw_mix(mix, view, rng=np.random.default_rng(seed), device=CPU)


def sum_in_box(percent: np.ndarray, box: list[int]) -> float:
    y0, x0, y1, x1 = box
    return float(sum(percent[y, x] for y in range(y0, y1) for x in range(x0, x1)))


def frame_of(mask: Tensor) -> list[int]:
    rows, columns = (mask.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    return [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_the_papers_sums(seed: int) -> None:
    """rho_a = 1 - sum of S_a in B_a, rho_b = sum of S_b in B_b, with S scaled as in the authors' code."""
    draw = drawn(seed)
    (paste,) = draw.pastes
    assert isinstance(paste.source, Resized)
    assert paste.source.region is not None
    large = interpolate(MAPS[:, None], (HEIGHT_PX, WIDTH_PX), mode="bilinear", align_corners=False)[:, 0].numpy()
    for sample, partner in enumerate(draw.partner.tolist()):
        maps = [large[each] - large[each].min() for each in (sample, partner)]
        own, pasted = (each / each.sum() for each in maps)
        covered = frame_of(paste.mask[sample, 0])
        region = paste.source.region[sample].tolist()
        assert draw.weight[sample].item() == pytest.approx(1 - sum_in_box(own, covered), abs=1e-4)
        assert draw.partner_weights[0, sample].item() == pytest.approx(sum_in_box(pasted, region), abs=1e-4)


def test_the_boxes_have_the_same_law_and_are_independent() -> None:
    covered, shown = [], []
    for seed in range(60):
        draw = drawn(seed)
        (paste,) = draw.pastes
        assert isinstance(paste.source, Resized)
        covered += paste.mask.float().mean(dim=(1, 2, 3)).tolist()
        shown += paste.source.within(HEIGHT_PX, WIDTH_PX).float().mean(dim=(1, 2)).tolist()
    assert np.mean(covered) == pytest.approx(np.mean(shown), abs=0.02)
    assert np.std(covered) == pytest.approx(np.std(shown), abs=0.02)
    assert abs(np.corrcoef(covered, shown)[0, 1]) < 0.15


def test_a_region_is_cut_out_and_resized() -> None:
    """As by torch's antialiased resizing of the cut-out."""
    draw = drawn(3)
    (paste,) = draw.pastes
    assert isinstance(paste.source, Resized)
    assert paste.source.region is not None
    mixed = mix_images(IMAGES, draw)
    for sample, partner in enumerate(draw.partner.tolist()):
        y0, x0, y1, x1 = frame_of(paste.mask[sample, 0])
        top, left, bottom, right = paste.source.region[sample].tolist()
        patch = IMAGES[partner, :, top:bottom, left:right][None]
        expected = interpolate(patch, (y1 - y0, x1 - x0), mode="bilinear", antialias=True, align_corners=False)[0]
        torch.testing.assert_close(mixed[sample, :, y0:y1, x0:x1], expected, rtol=1e-3, atol=1e-4)
        outside = ~paste.mask[sample, 0]
        assert torch.equal(mixed[sample][:, outside], IMAGES[sample][:, outside])


def test_an_empty_region_pastes_nothing() -> None:
    """Sizes near 0: a box without the centre of a pixel, in the image or in the partner, leaves the image and label."""
    draws = [drawn(seed, size={"kind": "fixed", "frac": 0.003}) for seed in range(20)]
    empty = torch.cat([draw.pastes[0].source.is_empty for draw in draws])  # type: ignore[union-attr]
    lam = torch.cat([draw.lam for draw in draws])
    assert empty.any()
    assert not empty.all()
    assert (lam[empty] == 1).all()
    assert (torch.cat([draw.partner_weights[0] for draw in draws])[empty] == 0).all()
    assert all(mix_images(IMAGES, draw).isfinite().all() for draw in draws)


def test_one_class_gets_both_weights_once() -> None:
    draw = drawn()
    targets = mix_targets(torch.zeros(COUNT, dtype=torch.int64), draw, n_classes=2)
    torch.testing.assert_close(targets[:, 0], draw.weight + draw.partner_weights[0])
    assert targets.sum(dim=1).max() > 1.05


def test_without_a_preference_shares_are_areas() -> None:
    flat = torch.full((COUNT, 5, 4), -3.0)
    draw = drawn(maps=flat, source="same")
    torch.testing.assert_close(draw.weight, draw.lam)
    torch.testing.assert_close(draw.partner_weights[0], 1 - draw.lam)


def test_a_displaced_patch_counts_where_it_comes_from() -> None:
    draw = drawn(source="displaced")
    (paste,) = draw.pastes
    percent = percent_maps(MAPS, height_px=HEIGHT_PX, width_px=WIDTH_PX)
    for sample, partner in enumerate(draw.partner.tolist()):
        y0, x0, y1, x1 = frame_of(paste.mask[sample, 0])
        dy, dx = (int(each[sample]) for each in (paste.source.dy, paste.source.dx))  # type: ignore[union-attr]
        shown = percent[partner, y0 + dy : y1 + dy, x0 + dx : x1 + dx].sum()
        assert draw.partner_weights[0, sample].item() == pytest.approx(shown.item(), abs=1e-4)


def test_the_whole_partner_keeps_all_of_its_class() -> None:
    draw = drawn(source="resized", position={"kind": "inside"})
    torch.testing.assert_close(draw.partner_weights[0], torch.ones(COUNT), atol=1e-4, rtol=0)


def test_part_of_a_frame_counts_as_part() -> None:
    """An ellipse shows less of a partner than its frame: at least what is in its middle."""
    rows = torch.arange(8)[:, None]
    round_ = ((rows - 3.5).square() + (rows.T - 3.5).square() < 12)[None, None]
    frame = Resized(*(torch.tensor([each]) for each in (0, 8, 0, 8)))
    _, shown = class_shares(torch.ones(1, 2, 2), torch.tensor([0]), round_, frame, height_px=8, width_px=8)
    assert shown.item() == pytest.approx(round_.float().mean().item(), abs=1e-5)
