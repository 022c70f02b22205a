"""From drawn numbers and rendered masks to the pastes and label weights of one policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from trainables.mixing.batch_view import BatchView
from trainables.mixing.class_shares import class_shares
from trainables.mixing.config import Mix
from trainables.mixing.host_draw import owners_of
from trainables.mixing.noise import noise_bank, noise_images
from trainables.mixing.pasted_masks import PastedMasks
from trainables.mixing.pastes import DrawParts, Paste, on_device
from trainables.mixing.rendering import emptied
from trainables.mixing.source import Displaced, Resized, displaced, framed, resized

Shape = tuple[int, int, int, int]
"""(B, C, H, W)."""


def constants_of(mix: Mix, shape: Shape, device: torch.device) -> dict[str, Tensor]:
    """Return the tensors that all draws of a policy for batches of a shape share."""
    constants = mix.mask.constants(*shape[2:], device)
    if mix.content == "noise":
        constants["noise"] = noise_bank(shape[1:], device)
    owner, _ = owners_of(mix, shape[0])
    if owner is not None:
        constants["owner"] = on_device(owner, device)
    if mix.moves_original:
        constants["samples"] = torch.arange(shape[0], device=device)
    return constants


def assembled(
    mix: Mix,
    arrays: Mapping[str, Tensor],
    masks: PastedMasks,
    unmixed: Tensor | None,
    batch: BatchView,
    constants: Mapping[str, Tensor],
) -> DrawParts:
    """Return the draw of one policy for all samples, as arguments of :class:`~trainables.mixing.pastes.RenderedDraw`.

    Args:
        mix: the policy.
        arrays: the arrays of :func:`~trainables.mixing.host_draw.draw_on_host` on the device.
        masks: one item per sample, pair or batch; see ``granularity`` of the policy.
        unmixed: samples that are not mixed, bool [B]; None: all samples are mixed.
        batch: shape of the batch, and maps of the network if labels follow them.
        constants: the result of :func:`constants_of`.
    """
    sources = _sources(mix, arrays, masks, batch.shape)
    if "owner" in constants:
        owner = constants["owner"]
        masks, sources = masks[owner], [source and source[owner] for source in sources]
    mask, lam, partner_fracs = masks.mask, masks.lam, masks.partner_fracs
    if isinstance(sources[0], Resized) and mix.source == "region":
        unmixed = sources[0].is_empty if unmixed is None else unmixed | sources[0].is_empty
    if unmixed is not None:
        # an empty mask instead of a selection of rows, which would copy the images (see mix_images)
        mask = emptied(mask, unmixed)
        lam = lam.masked_fill(unmixed, 1.0)
        partner_fracs = partner_fracs.masked_fill(unmixed, 0.0)
    content = _content(mix, arrays, batch.shape, constants, mask.device)
    if mix.label.by == "class_map":
        height_px, width_px = batch.shape[2:]
        maps, (partner,) = batch.maps_of("cam"), arrays["partners"]
        weight, shown = class_shares(maps, partner, mask, sources[0], height_px=height_px, width_px=width_px)
        partner_weights = shown[None]
    else:
        weight, partner_weights = _weights(mix, lam, partner_fracs, arrays)
    partners = arrays["partners"]
    return {
        "partners": partners,
        "lam": lam,
        "weight": weight,
        "partner_weights": partner_weights,
        "pastes": _pastes(partners, mask, content, sources, constants.get("samples")),
    }


def _pastes(
    partners: Tensor,
    mask: Tensor,
    content: Tensor | None,
    sources: list[Displaced | Resized | None],
    samples: Tensor | None,
) -> tuple[Paste, ...]:
    """Return the pastes, one per plane of the mask [B, P, H, W]; ``samples``: the original is the first of them."""
    if len(sources) == 1:
        return (Paste(None, partners[0], mask, content, sources[0]),)
    moved = 0 if samples is None else 1
    pastes = [
        Paste(None, partner, mask[:, index : index + 1], content, sources[index])
        for index, partner in enumerate(partners, start=moved)
    ]
    if samples is not None:
        pastes.insert(0, Paste(None, samples, mask[:, :1], content, sources[0], is_original=True))
    return tuple(pastes)


def _sources(
    mix: Mix, arrays: Mapping[str, Tensor], masks: PastedMasks, shape: Shape
) -> list[Displaced | Resized | None]:
    """Return the patch that each paste shows, for each mask of it."""
    if mix.source == "same":  # the original is not moved: every paste is a partner
        return [None] * mix.partners.count
    n_pastes, height_px, width_px = mix.n_pastes, *shape[2:]
    if mix.source == "displaced" and mix.position.wraps:
        source: Displaced | Resized = displaced(None, arrays["shift"], height_px=height_px, width_px=width_px)
    else:
        if masks.frames is not None:
            frame = framed(masks.frames.reshape(-1, 4))
        else:
            each = masks.mask if n_pastes == 1 else masks.mask.reshape(-1, 1, *masks.mask.shape[2:])
            frame = resized(each, height_px=height_px, width_px=width_px)
        source = frame
        if mix.source == "region":
            source = replace(frame, region=arrays["region"])
        elif mix.source == "displaced":
            source = displaced(frame, arrays["shift"], height_px=height_px, width_px=width_px)
    return [source] if n_pastes == 1 else [source[index::n_pastes] for index in range(n_pastes)]


def _content(
    mix: Mix, arrays: Mapping[str, Tensor], shape: Shape, constants: Mapping[str, Tensor], device: torch.device
) -> Tensor | None:
    """Return the pixels to paste if they are not a partner's."""
    if mix.content == "zero":
        return torch.zeros((), device=device)
    if mix.content == "noise":
        return noise_images(arrays["noise"], constants["noise"], shape[1:])
    return None


def _weights(mix: Mix, lam: Tensor, partner_fracs: Tensor, arrays: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the original's fraction of the label, [B], and the partners', [K, B]; content without a class gets 0."""
    if mix.content != "partner":
        return torch.ones_like(lam), torch.zeros_like(partner_fracs)
    if mix.label.lam == "nominal":
        return mix.label.weights(arrays["lam_nominal"], arrays["partner_fracs_nominal"])
    return mix.label.weights(lam, partner_fracs)
