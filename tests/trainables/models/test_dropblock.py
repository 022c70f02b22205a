from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import drop_block2d

from trainables.config import DropBlock
from trainables.mixing.schedule import Trapezoid
from trainables.models.dropblock import BlockDropper, drop_blocks, drop_prob_at

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed)).contiguous(memory_format=torch.channels_last)


def dropper(n_stages: int = 4, **parts: object) -> BlockDropper:
    return BlockDropper(DropBlock.model_validate(parts), n_stages=n_stages, seed=5, device=CPU)


def plain_drop(maps: torch.Tensor, prob: float, block_px: int, generator: torch.Generator) -> torch.Tensor:
    """Algorithm 1 of Ghiasi, Lin and Le (2018), written out block by block."""
    count, channels, height, width = maps.shape
    side = min(block_px, height, width)
    rows, columns = height - side + 1, width - side + 1
    gamma = prob * height * width / (side**2 * (rows * columns))
    begun = torch.empty(count, channels, rows, columns).bernoulli_(gamma, generator=generator)
    kept = torch.ones(maps.shape)
    for sample, channel, y, x in begun.nonzero().tolist():
        kept[sample, channel, y : y + side, x : x + side] = 0
    return maps * (kept * (kept.numel() / (1e-6 + kept.sum())))


# ---------------------------------------------------------------- one batch


@settings(max_examples=60)
@given(
    count=st.integers(1, 4),
    channels=st.integers(1, 5),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    block_px=st.sampled_from([1, 3, 5, 7, 9]),
    prob=st.floats(0, 0.95),
    seed=st.integers(0, 2**32),
)
def test_equals_torchvision_to_the_bit(
    count: int, channels: int, height: int, width: int, block_px: int, prob: float, seed: int
) -> None:
    if min(block_px, height, width) % 2 == 0:
        block_px = min(block_px, height, width) - 1  # torchvision refuses even blocks, also of its own making
    maps, own = noise_maps(count, channels, height, width), generator(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(own.get_state())
        theirs = drop_block2d(maps, prob, block_px)
        their_state = torch.default_generator.get_state()
    ours = drop_blocks(maps, prob=prob, block_px=block_px, generator=own)
    assert torch.equal(ours, theirs)
    assert torch.equal(own.get_state(), their_state)


@settings(max_examples=40)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    block_px=st.integers(1, 12),
    prob=st.floats(0.01, 0.95),
    seed=st.integers(0, 2**32),
)
def test_equals_the_algorithm_written_out(height: int, width: int, block_px: int, prob: float, seed: int) -> None:
    maps = noise_maps(3, 4, height, width)
    ours = drop_blocks(maps, prob=prob, block_px=block_px, generator=generator(seed))
    assert torch.equal(ours, plain_drop(maps, prob, block_px, generator(seed)))


def test_a_block_as_large_as_the_map_drops_whole_channels() -> None:
    ones = torch.ones(40, 50, 4, 6)
    dropped = drop_blocks(ones, prob=0.3, block_px=4, generator=generator()) == 0
    assert (dropped[:, :, 0] == dropped[:, :, 3]).all()  # all rows at once, as many columns as rows
    assert set(dropped[:, :, 0].sum(dim=2).unique().tolist()) == {0, 4, 5, 6}
    whole = drop_blocks(torch.ones(40, 50, 4, 4), prob=0.3, block_px=7, generator=generator()) == 0
    assert (whole.flatten(2).any(dim=2) == whole.flatten(2).all(dim=2)).all()
    assert whole.float().mean().item() == pytest.approx(0.3, abs=0.05)  # SD 0.01


@pytest.mark.parametrize("block_px", [1, 2, 3, 7])
def test_as_much_is_dropped_as_was_asked_for(block_px: int) -> None:
    maps = drop_blocks(torch.ones(64, 64, 14, 14), prob=0.1, block_px=block_px, generator=generator())
    share = (maps == 0).float().mean().item()
    assert 0.09 < share < 0.103  # a little less where blocks overlap
    assert maps.mean().item() == pytest.approx(1, abs=1e-4)  # what is left is scaled up


def test_channels_and_samples_are_dropped_from_apart() -> None:
    dropped = drop_blocks(torch.ones(8, 8, 8, 8), prob=0.3, block_px=3, generator=generator()).flatten(2) == 0
    patterns = {tuple(pattern.tolist()) for pattern in dropped.flatten(0, 1)}
    assert len(patterns) > 40


def test_gradients_are_dropped_and_scaled_alike() -> None:
    maps = torch.ones(4, 6, 8, 8, requires_grad=True)
    dropped = drop_blocks(maps, prob=0.3, block_px=3, generator=generator())
    torch.autograd.backward(dropped.sum())
    assert maps.grad is not None
    assert torch.equal(maps.grad, dropped.detach())


def test_probability_zero_draws_nothing() -> None:
    maps, own = noise_maps(2, 3, 8, 8), generator()
    before = own.get_state()
    assert drop_blocks(maps, prob=0.0, block_px=3, generator=own) is maps
    assert torch.equal(own.get_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_type_layout_and_the_maps_themselves_stay(dtype: torch.dtype, layout: torch.memory_format) -> None:
    maps = noise_maps(5, 6, 8, 8).to(dtype).contiguous(memory_format=layout)
    before = maps.clone()
    dropped = drop_blocks(maps, prob=0.3, block_px=3, generator=generator())
    assert dropped.dtype == dtype
    assert dropped.stride() == maps.stride()
    assert torch.equal(maps, before)
    exact = drop_blocks(maps.float(), prob=0.3, block_px=3, generator=generator())  # the same blocks in any precision
    assert torch.equal(dropped == 0, exact == 0)
    torch.testing.assert_close(dropped.float(), exact, rtol=0 if dtype == torch.float32 else 2**-7, atol=0)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    drop_blocks(noise_maps(2, 3, 8, 8), prob=0.5, block_px=3, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- over a run


@pytest.mark.parametrize(
    ("n_stages", "given_stages", "expected"),
    [(4, None, [3, 4]), (3, None, [2, 3]), (1, None, [1]), (4, (1,), [1]), (3, (3, 1), [3, 1])],
)
def test_stages(n_stages: int, given_stages: tuple[int, ...] | None, expected: list[int]) -> None:
    changes = dropper(n_stages, after_stages=given_stages).changes(0.1)
    assert [stage for stage, _ in changes] == expected


def test_the_default_is_the_papers() -> None:
    assert DropBlock() == DropBlock(prob=0.1, block_px=7, after_stages=None, schedule=Trapezoid(ramp_up_end=1.0))


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_the_probability_rises_with_the_planned_steps(t: float) -> None:
    assert drop_prob_at(DropBlock(prob=0.4), t) == 0.4 * t
    assert drop_prob_at(DropBlock.model_validate({"prob": 0.4, "schedule": {}}), t) == 0.4


def test_a_probability_on_the_device_drops_as_many() -> None:
    maps = torch.ones(8, 16, 16, 16)
    scalar = drop_blocks(maps, prob=0.2, block_px=3, generator=generator(5))
    tensor = drop_blocks(maps, prob=torch.tensor(0.2), block_px=3, generator=generator(5))
    assert (tensor == 0).float().mean().item() == pytest.approx((scalar == 0).float().mean().item(), abs=0.02)
    assert tensor.mean().item() == pytest.approx(1, abs=1e-5)


def test_stages_share_one_stream() -> None:
    maps, own = noise_maps(2, 4, 8, 8), generator(5)
    for _, change in dropper(prob=0.4, block_px=3, schedule={}).changes(0.4):
        assert torch.equal(change(maps), drop_blocks(maps, prob=0.4, block_px=3, generator=own))


def test_a_saved_generator_goes_on() -> None:
    maps = noise_maps(2, 4, 8, 8)
    first, second = dropper(schedule={}), dropper(schedule={})
    (_, change), _ = first.changes(0.5)
    change(maps)
    second.generator.set_state(first.generator.get_state())
    assert torch.equal(second.changes(0.5)[0][1](maps), change(maps))
