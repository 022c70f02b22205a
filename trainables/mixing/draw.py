"""Draw everything that is random about mixing a batch; no pixel of an image is touched here.

A draw has two steps. ``plan`` draws all random numbers of a batch on the host, as NumPy arrays. ``render`` makes masks
and weights of them by tensor operations on the device of the images. ``draw`` does both for one batch in a training
loop. A whole epoch may be planned at once and copied to the device; a GPU then renders without waiting for the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.host_draw import Arrays, draw_on_host, draw_second_mixes, owners_of
from trainables.mixing.mask_pool import MaskPool, draw_masks, plan_masks, realised_lam
from trainables.mixing.noise import noise_bank, noise_images
from trainables.mixing.rendering import emptied
from trainables.mixing.source import Displaced, Resized, displaced, resized

Shape = tuple[int, int, int, int]
"""(B, C, H, W)."""

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Paste:
    """What is pasted into some samples of a batch, and where.

    Attributes:
        rows: the samples, int64 [n], on the host; None: all of them, n = B.
        partner: index of each sample's partner in the batch, int64 [n].
        mask: where pixels are pasted, broadcasting to [n, 1, H, W]: bool (hard) or float32 (soft); zero for samples
            that are not mixed.
        content: pixels to paste instead of the partner's, broadcasting to [n, C, H, W]; None: the partner's.
        source: which patch of the partner is pasted; None: the one at the same place.
        samples: which of all B samples are concerned, bool [B], on the device; None: the samples in ``rows``.
    """

    rows: np.ndarray | None
    partner: Tensor
    mask: Tensor
    content: Tensor | None = None
    source: Displaced | Resized | None = None
    samples: Tensor | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class RenderedDraw:
    """The draw for one batch as it is on the device: all that mixing needs.

    Attributes:
        partner: index of each sample's partner, int64 [B].
        lam: realised fraction of the original image, float32 [B]: 1 minus the mean of the mask.
        weight: fraction of the original's class in the label, float32 [B].
        pastes: what is pasted where; each sample is in at most one of them.
    """

    partner: Tensor
    lam: Tensor
    weight: Tensor
    pastes: tuple[Paste, ...]

    @property
    def idle(self) -> bool:
        """Whether no sample of the batch is mixed, as far as the host knows."""
        return not self.pastes


@dataclass(frozen=True, eq=False, kw_only=True)
class MixDraw(RenderedDraw):
    """The draw for one batch, with what the host knows of it.

    Attributes:
        applied: which samples are mixed, bool [B], on the host.
        lam_nominal: fraction of the original image before clipping, float64 [B], on the host; 1 for samples that are
            not mixed.
    """

    applied: np.ndarray
    lam_nominal: np.ndarray


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
        {'applied': (4,), '0.partner': (4,), '0.mask.frac': (4,)}
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
        return _either(first, second, second_mixes, self._device)

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
            batch: shape of the batch, and its images on the device if the policy needs them.
        """
        applied = arrays["applied"]
        first = self._render_one(0, arrays, applied, batch)
        if self.mix.alternate is None:
            return first
        second, chosen = self._render_one(1, arrays, applied, batch), arrays["second"]
        return RenderedDraw(
            partner=torch.where(chosen, second.partner, first.partner),
            lam=torch.where(chosen, second.lam, first.lam),
            weight=torch.where(chosen, second.weight, first.weight),
            pastes=(
                *(replace(paste, samples=applied & ~chosen) for paste in first.pastes),
                *(replace(paste, samples=applied & chosen) for paste in second.pastes),
            ),
        )

    def _draw_one(self, index: int, batch: BatchView, t: float) -> MixDraw:
        mix, device, count = self._policies[index], self._device, batch.shape[0]
        prob = mix.apply.prob_at(t)
        if prob == 0:
            none = np.zeros(count, dtype=bool)
            return MixDraw(applied=none, lam_nominal=np.ones(count), **vars(_no_mixing(count, device)))
        host = draw_on_host(mix, prob, batch, self._rng, device, self._pools[index])
        arrays = {name: _on_device(values, device) for name, values in host.arrays.items()}
        unmixed = _on_device(~host.applied, device) if host.n_applied < count else None
        constants = self._constants_of(index, batch.shape)
        lam, weight, paste = _assembled(mix, arrays, host.masks.mask, host.masks.lam, unmixed, batch.shape, constants)
        return MixDraw(
            applied=host.applied,
            partner=paste.partner,
            lam=lam,
            lam_nominal=host.lam_nominal,
            weight=weight,
            pastes=(paste,) if host.n_applied else (),
        )

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
            return _no_mixing(batch.shape[0], applied.device)
        mine = _named(arrays, f"{index}.")
        constants = self._constants_of(index, batch.shape)
        parameters = _named(mine, "mask.") | constants
        if mix.mask.needs == "images":
            assert batch.images is not None, "render needs the images of the batch"
            parameters["images"] = batch.images[mine["partner"]]
        mask = mix.mask.render(parameters, *batch.shape[2:])
        lam, weight, paste = _assembled(mix, mine, mask, realised_lam(mask), ~applied, batch.shape, constants)
        return RenderedDraw(partner=paste.partner, lam=lam, weight=weight, pastes=(paste,))

    def _constants_of(self, index: int, shape: Shape) -> dict[str, Tensor]:
        """Return the tensors that all draws of a shape share; they are kept, because a graph may read them."""
        known = self._constants.get((index, shape))
        if known is not None:
            return known
        mix = self._policies[index]
        constants = self._constants[index, shape] = mix.mask.constants(*shape[2:], self._device)
        if mix.content == "noise":
            constants["noise"] = noise_bank(shape[1:], self._device)
        owner, _ = owners_of(mix, shape[0])
        if owner is not None:
            constants["owner"] = _on_device(owner, self._device)
        return constants


def _assembled(
    mix: Mix,
    arrays: Mapping[str, Tensor],
    mask: Tensor,
    lam: Tensor,
    unmixed: Tensor | None,
    shape: Shape,
    constants: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor, Paste]:
    """Return the lam, the weight and the paste of one policy; ``unmixed``, bool [B]; None: all samples are mixed."""
    _, channels, height_px, width_px = shape
    source: Displaced | Resized | None = None
    if mix.source == "displaced":
        wraps = mix.position.wraps
        source = displaced(mask, arrays["shift"], wraps=wraps, height_px=height_px, width_px=width_px)
    elif mix.source == "resized":
        source = resized(mask, height_px=height_px, width_px=width_px)
    if "owner" in constants:
        owner = constants["owner"]
        mask, lam, source = mask[owner], lam[owner], None if source is None else source[owner]
    if unmixed is not None:
        # an empty mask instead of a selection of rows, which would copy the images (see mix_images)
        mask = emptied(mask, unmixed)
        lam = lam.masked_fill(unmixed, 1.0)
    content: Tensor | None = None
    if mix.content == "zero":
        content = torch.zeros((), device=mask.device)
    elif mix.content == "noise":
        content = noise_images(arrays["noise"], constants["noise"], (channels, height_px, width_px))
    paste = Paste(None, arrays["partner"], mask, content, source)
    return lam, _weight(mix, lam, arrays), paste


def _weight(mix: Mix, lam: Tensor, arrays: Mapping[str, Tensor]) -> Tensor:
    """Return the original's fraction of the label, float32 [B]; 1 if the pasted content has no class."""
    if mix.content != "partner":
        return torch.ones_like(lam)
    return mix.label.weight(lam if mix.label.lam == "realised" else arrays["lam_nominal"])


def _named(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the arrays with a prefix, under the rest of their names."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _on_device(values: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.to(device, non_blocking=True)


def _no_mixing(count: int, device: torch.device) -> RenderedDraw:
    """Return the draw in which no sample is mixed and every sample is its own partner."""
    ones = torch.ones(count, device=device)
    return RenderedDraw(partner=torch.arange(count, device=device), lam=ones, weight=ones, pastes=())


def _either(first: MixDraw, second: MixDraw, second_mixes: np.ndarray, device: torch.device) -> MixDraw:
    """Return the second draw for the samples in ``second_mixes``, bool [B], and the first one for the others."""
    if not second_mixes.any():
        return first
    if second_mixes.all():
        return second
    chosen = _on_device(second_mixes, device)
    return MixDraw(
        applied=np.where(second_mixes, second.applied, first.applied),
        partner=torch.where(chosen, second.partner, first.partner),
        lam=torch.where(chosen, second.lam, first.lam),
        lam_nominal=np.where(second_mixes, second.lam_nominal, first.lam_nominal),
        weight=torch.where(chosen, second.weight, first.weight),
        pastes=(*_restricted(first, ~second_mixes, device), *_restricted(second, second_mixes, device)),
    )


def _restricted(draw: MixDraw, chosen: np.ndarray, device: torch.device) -> tuple[Paste, ...]:
    """Return the pastes of one policy's draw for the chosen samples, bool [B], that the policy mixes."""
    rows = np.flatnonzero(chosen & draw.applied)
    if not len(rows):
        return ()
    index = _on_device(rows, device)
    (paste,) = draw.pastes
    content = paste.content
    return (
        Paste(
            rows=rows,
            partner=paste.partner[index],
            mask=paste.mask[index],
            content=content[index] if content is not None and content.ndim else content,
            source=None if paste.source is None else paste.source[index],
        ),
    )
