"""Batch normalisation by the statistics of the whole batch where several workers share it.

``torch.nn.SyncBatchNorm`` does the same on GPUs only. Its forward pass also waits for the GPU in each layer, and in
bfloat16 it fails if a worker has no row of the batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(_BatchNorm):
    """Batch norm over the rows of all workers; parameters and state are those of the norm that it replaces.

    Mean and variance are exact: those of one worker with the whole batch, up to rounding. The gradient includes how
    each row changes the statistics that normalise the rows of other workers. In evaluation nothing is sent.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return normalised maps, [b, C, ...], of the rows of this worker; b may be 0."""
        if not self.training:
            return super().forward(maps)
        normalised, mean, variance, count = _Normalised.apply(maps, self.weight, self.bias, self.eps)
        if self.track_running_stats and self.running_mean is not None:
            self._track(mean, variance, count)
        return normalised  # type: ignore[no-any-return]

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running averages as torch's own norms do: with the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_((variance * (count / (count - 1))).to(variance.dtype), factor)

    def _check_input_dim(self, maps: Tensor) -> None:
        if maps.dim() < 2:
            raise ValueError(f"batch norm needs maps [B, C, ...], got shape {list(maps.shape)}")


def synchronise_norms(net: nn.Module) -> None:
    """Replace all batch norms of a network in place; names, parameters and buffers stay the same.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        >>> weight = net[1].weight
        >>> synchronise_norms(net)
        >>> type(net[1]).__name__, net[1].weight is weight
        ('SyncedBatchNorm', True)
    """
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncedBatchNorm):
                setattr(module, name, _synced(child))


class _SyncedNormAct(SyncedBatchNorm):
    """Such a batch norm with what follows it inside the same module, as some networks of timm have it."""

    act: nn.Module
    drop: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        followed: Tensor = self.act(self.drop(super().forward(maps)))
        return followed


def _synced(norm: _BatchNorm) -> SyncedBatchNorm:
    parts = {name: part for name, part in norm.named_children() if name in ("drop", "act")}
    kind = _SyncedNormAct if len(parts) == 2 else SyncedBatchNorm
    synced = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, part in parts.items():
        synced.add_module(name, part)
    synced.weight, synced.bias = norm.weight, norm.bias
    synced.running_mean, synced.running_var = norm.running_mean, norm.running_var
    synced.num_batches_tracked = norm.num_batches_tracked
    synced._forward_hooks.update(norm._forward_hooks)  # the factor of a residual branch that ends in this norm
    return synced.train(norm.training)


class _Normalised(torch.autograd.Function):
    """Ioffe and Szegedy (ICML 2015), algorithm 1 and its gradient (section 3), with sums over all workers."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _statistics(maps)
        ctx.save_for_backward(maps, weight, mean, (variance + eps).rsqrt(), count)
        ctx.mark_non_differentiable(mean, variance, count)
        normalised = nn.functional.batch_norm(maps, mean, variance, weight, bias, training=False, eps=eps)
        return normalised, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        maps, weight, mean, scale, count = ctx.saved_tensors
        gradient, others, shape = gradients[0], _others(maps), _by_channel(maps)
        mean, scale = mean.view(shape), scale.view(shape)
        normalised = (maps - mean) * scale
        wide = gradient.to(normalised.dtype)
        of_bias = wide.sum(others)
        of_weight = (wide * normalised).sum(others)
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        means = (sums / count).to(normalised.dtype)
        factor = scale if weight is None else scale * weight.view(shape)
        of_maps = (wide - means[0].view(shape) - normalised * means[1].view(shape)) * factor
        if weight is None:
            return of_maps.to(maps.dtype), None, None, None
        return of_maps.to(maps.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None


def _statistics(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance per channel, float32 [C], over the rows of all workers, and the number of values.

    The statistics of the workers are merged by Chan, Golub and LeVeque (1979) in float64: sums of squares would lose
    digits.
    """
    channels = maps.shape[1]
    own = maps.new_zeros(2 * channels + 1, dtype=torch.float64)
    if maps.numel():
        variance, mean = torch.var_mean(maps.float(), dim=_others(maps), correction=0)
        own[0] = maps.numel() // channels
        own[1 : channels + 1], own[channels + 1 :] = mean, variance
    every = own.new_zeros(dist.get_world_size(), len(own))
    every[dist.get_rank()] = own
    dist.all_reduce(every)  # sums with zeros are exact
    counts, means, variances = every[:, :1], every[:, 1 : channels + 1], every[:, channels + 1 :]
    count = counts.sum()
    mean = (counts * means).sum(dim=0) / count
    variance = (counts * (variances + (means - mean).square())).sum(dim=0) / count
    return mean.float(), variance.float(), count


def _others(maps: Tensor) -> list[int]:
    """Return all dimensions but that of the channels."""
    return [0, *range(2, maps.ndim)]


def _by_channel(maps: Tensor) -> list[int]:
    """Return the shape of one number per channel that broadcasts to ``maps``."""
    return [1, -1, *[1] * (maps.ndim - 2)]
