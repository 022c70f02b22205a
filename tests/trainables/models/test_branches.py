"""Stochastic depth and ShakeDrop: distribution, gradients, evaluation, and draws of their own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.config import Model, ShakeDrop, StochasticDepth, TrialConfig
from trainables.errors import UserError
from trainables.models.branches import BranchScaler
from trainables.models.build import build_model
from trainables.networks.modules.branches import BranchScale
from trainables.networks.modules.staged import StagedNet
from trainables.share import Share
from trainables.strict import parse
from trainables.synced_norm import synchronise_norms

CPU = torch.device("cpu")
NAMES = ("tiny", "resnet50", "pyramidnet29_a12_bn", "wrn10_1", "resnext11_4x4d")


def build(name: str = "tiny", **options: Any) -> StagedNet:
    model = Model.model_validate({"name": name, "width": 0.25, **options})
    return build_model(model, n_classes=3, height_px=8, width_px=8, seed=0)


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def scaler(net: StagedNet, option: StochasticDepth | ShakeDrop, *, seed: int = 5) -> BranchScaler:
    return BranchScaler(net, option, seed=seed, device=CPU)


def factors(option: StochasticDepth | ShakeDrop, n_batch: int, n_steps: int = 1) -> Tensor:
    """Factors of all steps, [n_steps, L, 2, B]."""
    kind = "shakedrop" if isinstance(option, ShakeDrop) else "stochastic_depth"
    net = build("wrn10_1", **{kind: option})
    draws = scaler(net, option)
    steps = []
    for _ in range(n_steps):
        draws.draw(n_batch)
        steps.append(torch.stack([each.factors.clone() for each in net.branch_scales if each.factors is not None]))
    return torch.stack(steps)


# ---------------------------------------------------------------- draws


@pytest.mark.parametrize("granularity", ["batch", "sample"])
def test_branches_survive_with_a_probability_that_falls_linearly(granularity: Any) -> None:
    drawn = factors(StochasticDepth(survival_prob=0.4, granularity=granularity), 50, n_steps=400)
    assert {*drawn.unique().tolist()} == {0.0, 1.0}
    assert torch.equal(drawn[:, :, 0], drawn[:, :, 1])  # the gradient is dropped with the branch
    n_independent = 400 * (50 if granularity == "sample" else 1)
    rates = drawn[:, :, 0].mean(dim=(0, 2)).tolist()
    assert rates == pytest.approx([0.8, 0.6, 0.4], abs=4 * 0.5 / n_independent**0.5)
    is_same = (drawn == drawn[..., :1]).all(dim=-1)
    assert bool(is_same.all()) == (granularity == "batch")


def test_shakedrop_draws_by_its_equation() -> None:
    drawn = factors(ShakeDrop(), 50, n_steps=400)
    forward, backward = drawn[:, :, 0], drawn[:, :, 1]
    kept = (forward == 1).all(dim=-1)  # b is one for the batch
    assert kept.float().mean(dim=0).tolist() == pytest.approx([5 / 6, 4 / 6, 0.5], abs=0.1)
    assert (backward[kept] == 1).all()
    alpha, beta = forward[~kept], backward[~kept]
    for values, low, high in ((alpha, -1.0, 1.0), (beta, 0.0, 1.0)):
        assert low <= values.min() < low + 0.01 < high - 0.01 < values.max() <= high
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.02)
        assert values.var().item() == pytest.approx((high - low) ** 2 / 12, rel=0.03)  # uniform
    assert torch.corrcoef(torch.stack([alpha.flatten(), beta.flatten()]))[0, 1].abs() < 0.03


def test_a_share_has_its_rows_of_the_whole_draw() -> None:
    option = ShakeDrop(granularity="sample")
    nets = [build(shakedrop=option) for _ in range(3)]
    shares = [None, *(Share.of(5, rank=rank, n_workers=2) for rank in (0, 1))]
    for net, share in zip(nets, shares, strict=True):
        scaler(net, option).draw(5, share=share)
    for whole, *parts in zip(*(net.branch_scales for net in nets), strict=True):
        assert torch.equal(whole.factors, torch.cat([part.factors for part in parts], dim=1))


def test_memory_stays_and_the_global_generator_is_left_alone() -> None:
    net = build(shakedrop={})
    draws, before = scaler(net, ShakeDrop()), torch.get_rng_state()
    addresses, values = [], []
    for n_batch in (40, 2, 40, 40, 40, 40):
        draws.draw(n_batch)
        factor = net.branch_scales[-1].factors
        assert factor is not None
        addresses.append(factor.data_ptr())
        values.append(factor.clone())
    assert {*addresses[2:]} == {addresses[0]} != {addresses[1]}
    assert len({tuple(value.flatten().tolist()) for value in values}) > 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_reads_nothing_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the device "meta" cannot be read: a CUDA graph can contain such a step."""
    monkeypatch.setattr(BranchScaler, "_uniform", lambda self, *shape: torch.rand(shape, device="meta"))
    with torch.device("meta"):
        net = build(shakedrop={})
    draws = scaler(net, ShakeDrop())
    draws._probs = draws._probs.to("meta")
    draws.draw(6)
    torch.autograd.backward(net(images().to("meta")).sum())
    assert all(parameter.grad is not None for parameter in net.parameters())


# ---------------------------------------------------------------- in a network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_has_a_factor_of_its_own(dtype: torch.dtype) -> None:
    branch = nn.Identity()
    scale = BranchScale(0.5, 0.5)
    branch.register_forward_hook(scale)
    scale.factors = torch.tensor([[0.5, -1.0], [0.25, 2.0]])
    maps = torch.ones(2, 3, 4, 5, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    scaled = branch(maps)
    assert scaled.dtype == dtype
    assert scaled.is_contiguous(memory_format=torch.channels_last)
    assert scaled[:, 0, 0, 0].tolist() == [0.5, -1.0]
    torch.autograd.backward(scaled.sum())
    assert maps.grad is not None
    assert maps.grad[:, 0, 0, 0].tolist() == [0.25, 2.0]
    assert branch.eval()(maps)[:, 0, 0, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", NAMES)
def test_every_branch_is_scaled_and_weights_are_those_without(name: str) -> None:
    plain, net = build(name), build(name, stochastic_depth={})
    assert plain.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(one, net.state_dict()[key]) for key, one in plain.state_dict().items())
    net.train()
    blocks = {"tiny": 3, "resnet50": 16, "pyramidnet29_a12_bn": 9}.get(name, 3)
    assert len(net.branch_scales) == blocks
    for scale in net.branch_scales:
        scale.factors = torch.ones(2, 6)
    assert torch.equal(net(images()), plain.train()(images()))
    for number, scale in enumerate(net.branch_scales):
        scale.factors = torch.zeros(2, 6)
        assert not torch.equal(net(images()), plain(images())), number
        scale.factors = torch.ones(2, 6)


def test_a_dropped_network_is_its_shortcuts() -> None:
    net = build("pyramidnet20_a12", shakedrop={}).train()
    for scale in net.branch_scales:
        scale.factors = torch.zeros(2, 6)
    end = net.stages[2][-1]  # type: ignore[index]
    maps = nn.functional.pad(net.stem(images()), (0, 0, 0, 0, 0, net.classifier.in_features - 16))
    pooled = nn.functional.avg_pool2d(maps, 2)
    torch.testing.assert_close(net.features(images()), end(pooled))


def test_evaluation_multiplies_branches_by_their_expected_factor() -> None:
    net, plain = build("pyramidnet8_a12", shakedrop={"alpha": [0.0, 0.5]}).eval(), build("pyramidnet8_a12").eval()
    norms = [block.bn for stage in plain.stages for block in stage if hasattr(block, "body")]  # type: ignore[union-attr]
    expected = [prob + (1 - prob) * 0.25 for prob in (5 / 6, 4 / 6, 0.5)]
    with torch.no_grad():
        for norm, factor in zip(norms, expected, strict=True):
            norm.weight.mul_(factor)
            norm.bias.mul_(factor)
        scaler(net, ShakeDrop()).draw(6)  # has no effect in evaluation
        torch.testing.assert_close(net(images()), plain(images()))
        torch.testing.assert_close(copy.deepcopy(net)(images()), plain(images()))


def test_workers_keep_the_factors_of_their_norms() -> None:
    net = build(stochastic_depth={}).eval()
    expected = net(images())
    synchronise_norms(net)
    assert torch.equal(net(images()), expected)
    assert not torch.equal(expected, build().eval()(images()))


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"shakedrop": {}, "stochastic_depth": {}}}, "scale the same residual branches: remove one"),
        ({"model": {"shakedrop": {"alpha": [1.0, -1.0]}}}, r"'model\.shakedrop\.alpha': must be \[lower, upper\]"),
        ({"model": {"stochastic_depth": {"survival_prob": 0.0}}}, r"'model\.stochastic_depth\.survival_prob'"),
        ({"model": {"shakedrop": {}}, "adversarial": {"kind": "fgsm"}}, r"but model\.shakedrop changes it at random"),
        ({"model": {"stochastic_depth": {"survival": 0.5}}}, "did you mean 'survival_prob'"),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(TrialConfig, values, where="here")


def test_options_that_are_off_leave_no_trace_in_a_recorded_configuration() -> None:
    """Recorded states and digests of versions without these options stay valid."""
    recorded = TrialConfig().model_dump(mode="json")
    assert recorded["model"].keys() == {"name", "width", "precision", "dropblock"}
    assert not {"name", "betas"} & recorded["optimizer"].keys()
    values = {"model": {"shakedrop": {}}, "optimizer": {"name": "adamw", "lr": 0.001, "betas": [0.9, 0.95]}}
    config = TrialConfig.model_validate(values)
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert config.model.shakedrop == ShakeDrop(survival_prob=0.5, alpha=(-1, 1), beta=(0, 1), granularity="batch")
    assert StochasticDepth() == StochasticDepth(survival_prob=0.5, granularity="batch")
