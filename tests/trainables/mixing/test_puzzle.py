"""The mask of PuzzleMix: its energy by the paper's equation, in loops, and how low the energy of the labels is."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.mixing.block_labels import BlockEnergy, least_energy
from trainables.mixing.masks.puzzle import Puzzle

N_LABELS, SIDE_PX = 3, 16


def energy_in_loops(
    z: np.ndarray,
    own: np.ndarray,
    partner: np.ndarray,
    images: tuple[np.ndarray, np.ndarray],
    frac: float,
    mask: Puzzle,
) -> float:
    """E(z) of Kim et al. (2020), section 4.1, for labels and saliencies [n, n] and square images [C, H, W]."""
    n, side = len(z), images[0].shape[1] // len(z)
    k = max(1, side // mask.neighbour_px)
    strip_px, last = side // k, mask.labels - 1
    smooth = mask.label_smoothness / (16 * n)
    total = (z * own + (1 - z) * partner).sum()

    def strip(image: np.ndarray, i: int, j: int, border: str) -> np.ndarray:
        """Means of the patches of a block along one of its borders, [C, k]."""
        block = image[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
        if border in ("left", "right"):
            block, border = block.transpose(0, 2, 1), {"left": "top", "right": "bottom"}[border]
        block = block[:, :strip_px] if border == "top" else block[:, -strip_px:]
        return np.stack([block[:, :, m * strip_px : (m + 1) * strip_px].mean(axis=(1, 2)) for m in range(k)], axis=1)

    def distance(a: int, b: int, one: tuple[int, int, str], two: tuple[int, int, str]) -> float:
        return float(np.abs(strip(images[a], *one) - strip(images[b], *two)).mean())

    for i, j in product(range(n), repeat=2):
        others = [((i + 1, j), "bottom", "top"), ((i, j + 1), "right", "left")]
        for (i2, j2), here, there in others:
            if max(i2, j2) == n:
                continue
            d = {(a, b): distance(a, b, (i, j, here), (i2, j2, there)) for a, b in product(range(2), repeat=2)}
            u, v = z[i, j], z[i2, j2]
            c = (d[0, 1] + d[1, 0] - d[0, 0] - d[1, 1]) / 2
            # the difference in pixels of labels 0 and 1, written with (u - v)^2 for the labels between them
            data = u * (d[1, 0] + d[1, 1] - d[0, 1] - d[0, 0]) / 2 + v * (d[0, 1] + d[1, 1] - d[1, 0] - d[0, 0]) / 2
            total += smooth * ((1 + mask.data_smoothness * c) * (u - v) ** 2 + mask.data_smoothness * data)
    for each in (z * last).round().astype(int).ravel():
        prob = math.comb(last, each) * frac**each * (1 - frac) ** (last - each)
        total -= mask.prior_weight / n**2 * math.log(prob)
    return float(total)


@pytest.mark.parametrize("seed", range(5))
def test_the_form_with_squares_is_the_cost_of_a_border(seed: int) -> None:
    """For labels 0 and 1, up to a constant, it is the distance d_ab of the two images that are shown."""
    d = np.random.default_rng(seed).random((2, 2))
    c = (d[0, 1] + d[1, 0] - d[0, 0] - d[1, 1]) / 2
    upper, lower = (d[1, 0] + d[1, 1] - d[0, 1] - d[0, 0]) / 2, (d[0, 1] + d[1, 1] - d[1, 0] - d[0, 0]) / 2
    for u, v in product((0, 1), repeat=2):
        assert c * (u - v) ** 2 + upper * u + lower * v == pytest.approx(d[u, v] - d[0, 0])


def parameters_of(count: int, seed: int, frac: float) -> tuple[dict[str, Tensor], np.ndarray]:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.standard_normal((2, count, 3, SIDE_PX, SIDE_PX), dtype=np.float32))
    maps = torch.from_numpy(rng.random((2, count, SIDE_PX, SIDE_PX), dtype=np.float32) ** 4)
    ways = np.array([math.comb(N_LABELS - 1, k) * frac**k * (1 - frac) ** (N_LABELS - 1 - k) for k in range(N_LABELS)])
    prior = torch.from_numpy(np.tile(np.log(ways), (count, 1)).astype(np.float32))
    names = {"own_images": images[0], "images": images[1], "own_maps": maps[0], "maps": maps[1], "prior": prior}
    return names, ways


@pytest.mark.parametrize("per_side", [2, 4])
def test_the_energy_is_that_of_the_paper(per_side: int) -> None:
    """Differences between labels: a constant that no label changes is left out."""
    mask, frac = Puzzle(label_smoothness=2.0, data_smoothness=0.3), 0.3
    parameters, _ = parameters_of(1, per_side, frac)
    energy = mask._energy(parameters, per_side, SIDE_PX)
    pooled = [
        torch.nn.functional.avg_pool2d(parameters[name], SIDE_PX // per_side)[0].double().numpy()
        for name in ("own_maps", "maps")
    ]
    own, partner = (each / each.sum() for each in pooled)
    images = (parameters["own_images"][0].numpy(), parameters["images"][0].numpy())
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(5):
        choice = rng.integers(N_LABELS, size=(per_side, per_side))
        expected = energy_in_loops(choice / 2, own, partner, images, frac, mask)
        gaps.append(energy.of(torch.from_numpy(choice)[None]).item() - expected)
    assert np.ptp(gaps) < 1e-5
    assert abs(gaps[0] + 1) < 1e-5  # the sum of the partner's saliency


def random_energy(count: int, per_side: int, seed: int, ties: float) -> BlockEnergy:
    rng = np.random.default_rng(seed)
    shapes = [(per_side, per_side, N_LABELS), (per_side - 1, per_side), (per_side, per_side - 1)]
    costs, down, across = (rng.random((count, *shape), dtype=np.float32) for shape in shapes)
    return BlockEnergy(*(torch.from_numpy(each) for each in (costs, ties * down, ties * across)))


@pytest.mark.parametrize("ties", [0.0, 0.3, 3.0])
def test_the_least_energy_of_a_small_grid(ties: float) -> None:
    """All 81 labels of 2 by 2 blocks are compared."""
    energy = random_energy(50, 2, 0, ties)
    every = torch.tensor(list(product(range(N_LABELS), repeat=4))).view(-1, 2, 2)
    least = torch.stack([energy.of(choice.expand(50, 2, 2)) for choice in every]).amin(dim=0)
    reached = energy.of(least_energy(energy))
    assert ((reached - least) < 1e-5).float().mean() > 0.9
    assert (reached - least).max() < 0.3


@pytest.mark.parametrize("ties", [0.1, 0.4])
def test_no_single_block_can_lower_the_energy(ties: float) -> None:
    energy = random_energy(100, 5, 1, ties)
    labels = least_energy(energy)
    reached = energy.of(labels)
    for i, j, label in product(range(5), range(5), range(N_LABELS)):
        other = labels.clone()
        other[:, i, j] = label
        assert (energy.of(other) >= reached - 1e-5).all()


def test_ties_make_larger_regions_and_saliency_decides() -> None:
    parameters, _ = parameters_of(16, 0, 0.5)
    borders = []
    for smoothness in (0.0, 1.2, 6.0):
        labels = least_energy(Puzzle(label_smoothness=smoothness, data_smoothness=0.0)._energy(parameters, 8, SIDE_PX))
        borders.append((labels[:, 1:] != labels[:, :-1]).float().mean().item())
    assert borders[0] > borders[1] > borders[2]
    free = Puzzle(label_smoothness=0.0, prior_weight=1e-9)._energy(parameters, 8, SIDE_PX)
    own, partner = (torch.nn.functional.avg_pool2d(parameters[name], 2) for name in ("own_maps", "maps"))
    gain = partner / partner.sum(dim=(1, 2), keepdim=True) - own / own.sum(dim=(1, 2), keepdim=True)
    assert (least_energy(free) == 2 * (gain > 0)).all()  # each block shows the image that is more salient there


def test_two_labels_are_hard_and_three_show_means() -> None:
    parameters, _ = parameters_of(32, 3, 0.5)
    parameters["drawn"] = torch.arange(32) % 4
    soft = Puzzle().render(parameters, SIDE_PX, SIDE_PX)
    assert set(soft.unique().tolist()) == {0.0, 0.5, 1.0}
    parameters["prior"] = torch.full((32, 2), math.log(0.5))
    assert Puzzle(labels=2).render(parameters, SIDE_PX, SIDE_PX).dtype == torch.bool
    for index, per_side in enumerate((2, 4, 8, 16)):
        side = SIDE_PX // per_side
        blocks = soft[parameters["drawn"] == index].view(8, per_side, side, per_side, side)
        assert (blocks == blocks[:, :, :1, :, :1]).all()
