"""Draw everything that is random about mixing a batch; no pixel of an image is touched here.

A draw has two steps. ``plan`` draws all random numbers of a batch on the host, as NumPy arrays. ``render`` makes masks
and weights of them by tensor operations on the device of the images. ``draw`` does both for one batch in a training
loop. A whole epoch may be planned at once and copied to the device; a GPU then renders without waiting for the host.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.assembly import Shape, assembled, constants_of
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.host_draw import Arrays, draw_on_host, draw_second_mixes
from trainables.mixing.mask_pool import MaskPool, draw_masks, plan_masks
from trainables.mixing.pasted_masks import render_pasted
from trainables.mixing.pastes import MixDraw, RenderedDraw, chosen_draw, chosen_rendered, no_mixing, on_device

CPU = torch.device("cpu")


def draw_layer(mix: Mix, rng: np.random.Generator) -> int:
    """Draw the layer at which a batch is mixed; if there is only one layer, nothing is drawn from ``rng``.

    Examples:
        >>> draw_layer(Mix.model_validate({"preset": "mixup", "layer": 2}), np.random.default_rng(0))
        2
    """
    layers = mix.layers
    return layers[0] if len(layers) == 1 else layers[int(rng.integers(len(layers)))]


def draw_mix(mix: Mix, batch: BatchView, *, rng: np.random.Generator, device: torch.device, t: float = 0.0) -> MixDraw:
    """Draw for a single batch; see :class:`MixDrawer`.

    Examples:
        >>> from trainables.mixing.apply import mix_images, mix_targets
        >>> images, labels = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
        >>> mix = Mix.model_validate({"preset": "cutmix_torus", "apply": {"prob": 1.0}, "size": {"kind": "fixed"}})
        >>> batch = BatchView((4, 3, 8, 8), labels.numpy())
        >>> draw = draw_mix(mix, batch, rng=np.random.default_rng(0), device=torch.device("cpu"))
        >>> draw.lam.tolist()
        [0.75, 0.75, 0.75, 0.75]
        >>> mix_images(images, draw).shape, mix_targets(labels, draw, n_classes=3).sum(dim=1).tolist()
        (torch.Size([4, 3, 8, 8]), [1.0, 1.0, 1.0, 1.0])
    """
    return MixDrawer(mix, rng=rng, device=device, n_samples=batch.shape[0]).draw(batch, t)


def describe_why_not(mix: Mix, *, boxes: bool = False) -> str:
    """Return why a policy cannot be planned before its batch is known; empty if it can.

    Args:
        mix: the policy.
        boxes: whether :meth:`MixDrawer.plan` gets the objects' boxes, after crop and flip, with each batch.

    Examples:
        >>> describe_why_not(Mix.model_validate("cutmix"))
        ''
        >>> describe_why_not(Mix.model_validate("saliencymix"))
        "position.kind 'saliency' depends on the images of the batch"
        >>> describe_why_not(Mix.model_validate("objectmix"))
        "mask.family 'object' depends on the boxes of the batch after crop and flip"
    """
    for policy in mix.policies:
        family, position = f"mask.family '{policy.mask.family}'", f"position.kind '{policy.position.kind}'"
        if not policy.mask.has_parameters():
            return f"{family} defines draw alone: define parameters and render instead"
        if policy.position.needs == "images":
            return f"{position} depends on the images of the batch"
        if "boxes" in policy.needs and not boxes:
            part = family if policy.mask.needs == "boxes" else position
            return f"{part} depends on the boxes of the batch after crop and flip"
    return ""


class MixDrawer:
    """Draw everything that is random about mixing, batch by batch.

    Attributes:
        mix: the policy.

    Examples:
        >>> rng, cpu = np.random.default_rng(0), torch.device("cpu")
        >>> drawer = MixDrawer(Mix.model_validate("mixup"), rng=rng, device=cpu, n_samples=8)
        >>> draws = [drawer.draw(BatchView((4, 3, 8, 8), np.arange(4)), t=0.0) for _ in range(2)]  # two batches of 4
        >>> [draw.lam.shape for draw in draws]
        [torch.Size([4]), torch.Size([4])]

        An epoch in advance: all numbers first, masks later.

        >>> planner = MixDrawer(Mix.model_validate("mixup"), rng=np.random.default_rng(0), device=cpu, n_samples=8)
        >>> batch = BatchView((4, 3, 8, 8), np.arange(4))
        >>> plans = [planner.plan(batch, t=0.0) for _ in range(2)]
        >>> {name: values.shape for name, values in plans[0].items()}
        {'applied': (4,), '0.partners': (1, 4), '0.mask.frac': (4,)}
        >>> table = {name: torch.from_numpy(values) for name, values in plans[1].items()}  # .to(device)
        >>> torch.equal(planner.render(table, batch).lam, draws[1].lam)
        True
    """

    def __init__(self, mix: Mix, *, rng: np.random.Generator, device: torch.device, n_samples: int) -> None:
        """Prepare to draw for ``n_samples`` samples in total, for example for one epoch.

        Args:
            mix: the policy.
            rng: the only source of randomness. After the last sample nothing that was drawn from it is left over, so
                that its state is all that a saved trial needs of the mixing.
            device: where masks are made and images are mixed.
            n_samples: total number of samples in all batches to come.
        """
        self.mix = mix
        self._rng = rng
        self._device = device
        self._pools = [MaskPool(policy, n_samples, draw_masks) for policy in mix.policies]
        self._planned = [MaskPool(policy, n_samples, plan_masks) for policy in mix.policies]
        self._policies = mix.policies
        self._constants: dict[tuple[int, Shape], dict[str, Tensor]] = {}
        self._idle: dict[int, MixDraw] = {}  # by size of the batch: draws without mixing are all the same

    def draw(self, batch: BatchView, t: float) -> MixDraw:
        """Draw for the next batch.

        The same numbers are drawn for every decision of the gate, so that ``prob`` does not shift later draws. Only
        for a probability of 0 nothing is drawn.

        Args:
            batch: the batch that is about to be mixed.
            t: fraction of the planned steps that is done, for the schedule.
        """
        if self.mix.alternate is None:
            return self._draw_one(0, batch, t)
        # both policies are drawn for the whole batch: the number of draws must not depend on which one is used
        second_mixes = draw_second_mixes(self.mix, self.mix.alternate, batch.shape[0], self._rng)
        first, second = (self._draw_one(index, batch, t) for index in range(2))
        if second_mixes.all() or not second_mixes.any():
            return second if second_mixes[0] else first
        return chosen_draw(first, second, second_mixes, on_device(second_mixes, self._device))

    def plan(self, batch: BatchView, t: float) -> Arrays:
        """Draw all random numbers of the next batch, the same as :meth:`draw`, without a device.

        A drawer either plans or draws: masks drawn ahead for the one would be missing in the other.

        Args:
            batch: shape and labels of the batch, and the objects' boxes if the policy needs them; no images.
            t: fraction of the planned steps that is done, for the schedule.

        Returns:
            Arrays for :meth:`render`. Names, types and shapes depend on the policy and on the shape of the batch, never
            on a draw. ``applied``, bool [B]: the samples that are mixed. The others are internal.

        Raises:
            ValueError: the policy cannot be planned, see :func:`describe_why_not`.
        """
        if reason := describe_why_not(self.mix, boxes=batch.boxes is not None):
            raise ValueError(f"the policy cannot be planned ahead of its batch: {reason}")
        count = batch.shape[0]
        if self.mix.alternate is None:
            applied, plan = self._plan_one(0, batch, t)
            return {"applied": applied} | plan
        second_mixes = draw_second_mixes(self.mix, self.mix.alternate, count, self._rng)
        (first, plan), (second, other) = (self._plan_one(index, batch, t) for index in range(2))
        return {"applied": np.where(second_mixes, second, first), "second": second_mixes} | plan | other

    def render(self, arrays: Mapping[str, Tensor], batch: BatchView) -> RenderedDraw:
        """Make the draw of :meth:`plan` on the device, by tensor operations alone.

        Nothing is read back or copied to the device, and neither shapes nor branches depend on a draw: the operations
        can be recorded once, in a CUDA graph, and replayed with other numbers in ``arrays``. A batch that is not mixed
        gets empty masks. The draw of any drawer of the policy can be rendered. The drawer that was recorded must be
        kept as long as the graph: it holds the banks of masks and of noise that the graph reads.

        Args:
            arrays: the arrays of :meth:`plan` as tensors on the device.
            batch: shape of the batch, and on the device its images and maps of the network if the policy needs them.
        """
        applied = arrays["applied"]
        first = self._render_one(0, arrays, applied, batch)
        if self.mix.alternate is None:
            return first
        return chosen_rendered(first, self._render_one(1, arrays, applied, batch), arrays["second"], applied)

    def _draw_one(self, index: int, batch: BatchView, t: float) -> MixDraw:
        mix, device, count = self._policies[index], self._device, batch.shape[0]
        prob = mix.apply.prob_at(t)
        if prob == 0:
            if count not in self._idle:
                none = np.zeros(count, dtype=bool)
                self._idle[count] = MixDraw(applied=none, lam_nominal=np.ones(count), **vars(no_mixing(count, device)))
            return self._idle[count]
        host = draw_on_host(mix, prob, batch, self._rng, device, self._pools[index])
        arrays = {name: on_device(values, device) for name, values in host.arrays.items()}
        unmixed = on_device(~host.applied, device) if host.n_applied < count else None
        parts = assembled(mix, arrays, host.masks.masks, unmixed, batch, self._constants_of(index, batch.shape))
        if not host.n_applied:
            parts["pastes"] = ()
        return MixDraw(applied=host.applied, lam_nominal=host.lam_nominal, **parts)

    def _plan_one(self, index: int, batch: BatchView, t: float) -> tuple[np.ndarray, Arrays]:
        """Return which samples a policy mixes, bool [B], and its arrays under their names in the plan."""
        mix, count = self._policies[index], batch.shape[0]
        if mix.apply.prob == 0:
            return np.zeros(count, dtype=bool), {}
        prob, rng, pool = mix.apply.prob_at(t), self._rng, self._planned[index]
        if prob == 0:  # nothing may be drawn, but the arrays must have their shapes
            rng, pool = np.random.default_rng(0), MaskPool(mix, count, plan_masks)
        host = draw_on_host(mix, prob, batch, rng, CPU, pool)
        arrays = host.arrays | {f"mask.{name}": values for name, values in host.masks.parameters.items()}
        return host.applied, {f"{index}.{name}": values for name, values in arrays.items()}

    def _render_one(self, index: int, arrays: Mapping[str, Tensor], applied: Tensor, batch: BatchView) -> RenderedDraw:
        mix = self._policies[index]
        if mix.apply.prob == 0:
            return no_mixing(batch.shape[0], applied.device)
        mine = _named(arrays, f"{index}.")
        constants = self._constants_of(index, batch.shape)
        parameters = _named(mine, "mask.") | constants
        parameters |= mix.mask.seen(batch, mine["partners"].T.reshape(-1))
        masks = render_pasted(mix, parameters, *batch.shape[2:])
        return RenderedDraw(**assembled(mix, mine, masks, ~applied, batch, constants))

    def _constants_of(self, index: int, shape: Shape) -> dict[str, Tensor]:
        """Return the tensors that all draws of a shape share; they are kept, because a graph may read them."""
        known = self._constants.get((index, shape))
        if known is None:
            known = self._constants[index, shape] = constants_of(self._policies[index], shape, self._device)
        return known


def _named(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the arrays with a prefix, under the rest of their names."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
