"""Mixing policies by name, each with its source.

Everything is drawn a sample at a time, on the reals, as long as a preset does not carry a library's name: the
authors' own code mostly draws one size, one place and one coin for a whole batch, and rounds boxes to whole pixels.
Presets of libraries keep those habits. ``label.smoothing`` is no part of any preset.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

from trainables.errors import did_you_mean
from trainables.merging import merged
from trainables.mixing.labels import Label
from trainables.mixing.masks.box import Box
from trainables.mixing.masks.flat import Flat
from trainables.mixing.masks.fourier import Fourier
from trainables.mixing.masks.gauss import Gauss
from trainables.mixing.masks.grid import Grid
from trainables.mixing.masks.hmix import HMix
from trainables.mixing.masks.object import Object
from trainables.mixing.masks.superpixel import Superpixel
from trainables.mixing.pairing import FlipPairing, PermutePairing, RollPairing
from trainables.mixing.position import (
    ClipPosition,
    GaussPosition,
    InsidePosition,
    SaliencyPosition,
    TorusPosition,
    WholePosition,
)
from trainables.mixing.schedule import Trapezoid
from trainables.mixing.size import BetaSize, FixedSize, UniformSize
from trainables.strict import Frozen

_PAPER: dict[str, Any] = {
    "mask": Box().model_dump(),
    "size": BetaSize(alpha=1.0).model_dump(),
    "position": ClipPosition().model_dump(),
    "source": "same",
    "pairing": PermutePairing().model_dump(),
    "granularity": "sample",
    "content": "partner",
    "label": Label(exponent=1.0, lam="realised").model_dump(exclude={"smoothing"}),
    "apply": {"prob": 1.0, "gate": "sample", "schedule": Trapezoid().model_dump()},
    "layer": 0,
    "alternate": None,
}
"""What every preset starts from and states in full, so that no part of another policy shines through."""


def off() -> dict[str, Any]:
    """No mixing at all: the baseline of Yun et al., ICCV 2019, table 5."""
    return _policy(apply={"prob": 0.0})


def cutmix() -> dict[str, Any]:
    """CutMix (Yun et al., ICCV 2019, equations 1 and 2): box of area 1 - lam, lam ~ Beta(1, 1), clipped at the border.

    The text names no application probability; 0.5 is the authors' setting for CIFAR (1.0 for ImageNet). Their code
    draws one lam, one box and one coin a batch; ``composer_cutmix`` with ``apply.prob`` 0.5 does as it does.
    """
    return _policy(apply={"prob": 0.5})


def cutmix_scheduled() -> dict[str, Any]:
    """Scheduled CutMix (Yun et al., ICCV 2019, section 4.1, table 8): probability from 0 to 1, linear over the run."""
    return _policy(apply={"prob": 1.0, "schedule": {"ramp_up_end": 1.0}})


def cutmix_fixed_size() -> dict[str, Any]:
    """Fixed-size CutMix (Yun et al., ICCV 2019, section 4.1, table 8): a box of half the side, 16 of 32 pixels.

    As in the other arms of that table the probability is not given; it is ``cutmix``'s.
    """
    return _policy(size=FixedSize(frac=0.25), apply={"prob": 0.5})


def cutmix_complete_label() -> dict[str, Any]:
    """Complete-label CutMix (Yun et al., ICCV 2019, section 4.1, table 8): both labels count half whatever the area.

    The probability is not given; it is ``cutmix``'s.
    """
    return _policy(label={"exponent": 0.0}, apply={"prob": 0.5})


def cutmix_one_hot() -> dict[str, Any]:
    """One-hot CutMix (Yun et al., ICCV 2019, section 4.1, table 8): the larger part's label alone counts.

    The probability is not given; it is ``cutmix``'s.
    """
    return _policy(label={"exponent": "inf"}, apply={"prob": 0.5})


def cutmix_center_gaussian() -> dict[str, Any]:
    """Center Gaussian CutMix (Yun et al., ICCV 2019, section 4.1, table 8): boxes about the image's centre.

    Neither the standard deviation nor the probability is given: a quarter of the side, varied by
    ``mix.position.sigma_frac``, and ``cutmix``'s.
    """
    return _policy(position=GaussPosition(sigma_frac=0.25), apply={"prob": 0.5})


def feature_cutmix() -> dict[str, Any]:
    """Feature CutMix (Yun et al., ICCV 2019, section 4.1, figure 3 and table 3): maps are mixed instead of images.

    Here those after the first stage. The figure's layers 2, 3 and 4 are stages 1, 2 and 3, its layer 0 the image; its
    layer 1, before the first stage, is not offered. ``mix.layer`` of the arms, or a choice over it, makes the figure;
    a list of layers draws one a batch, as table 3 does from candidates that the text does not name. Nor does it name
    the probability, which is ``cutmix``'s.
    """
    return _policy(layer=1, apply={"prob": 0.5})


def cutmix_torus() -> dict[str, Any]:
    """CutMix (after Yun et al., ICCV 2019) on boxes that wrap around the borders; no publication does this.

    The pasted area is then exactly what was drawn and every pixel is covered equally often, so that neither the dose
    nor the place depends on the size: what to compare shapes and size laws on.
    """
    return _policy(position=TorusPosition(), apply={"prob": 0.5})


def cutout() -> dict[str, Any]:
    """Cutout (DeVries and Taylor, 2017, section 3): a square of half the side, clipped at the border, of mean colour.

    16 of 32 pixels is their setting for CIFAR-10 (8 for CIFAR-100, 20 for SVHN), for every image; the label stays.
    """
    return _policy(size=FixedSize(frac=0.25), content="zero")


def random_erasing() -> dict[str, Any]:
    """Random Erasing (Zhong et al., AAAI 2020, algorithm 1, section 4): noise on a rectangle of 2 to 40 % of the area.

    Aspect ratio between 0.3 and 1/0.3, applied with probability 0.5, always inside the image; the label stays. The
    paper draws the ratio uniformly and each value from 0 to 255; here the ratio is log-uniform, so that wide and high
    are alike, and the noise standard normal on normalised images.
    """
    return _policy(
        mask=Box(aspect_max=1 / 0.3),
        size=UniformSize(lo=0.02, hi=0.4),
        position=InsidePosition(),
        content="noise",
        apply={"prob": 0.5},
    )


def mixup() -> dict[str, Any]:
    """Mixup (Zhang et al., ICLR 2018, equation 1): blend of two images, lam ~ Beta(1, 1), always applied.

    Alpha 1 is the authors' for CIFAR (0.2 for ImageNet). Their code draws one lam a batch.
    """
    return _policy(mask=Flat(), position=WholePosition())


def manifold_mixup() -> dict[str, Any]:
    """Manifold Mixup (Verma et al., ICML 2019, section 2): the image or the maps after stage 1 or 2 are blended.

    The layer is drawn anew for each batch; lam ~ Beta(2, 2), always applied, as in the authors' command for CIFAR.
    They take a binary loss of each class and one lam a batch; here the loss is that of all policies.
    """
    return _policy(mask=Flat(), size=BetaSize(alpha=2.0), position=WholePosition(), layer=[0, 1, 2])


def fmix() -> dict[str, Any]:
    """FMix (Harris et al., arXiv 2002.12047, 2020, section 4): the highest pixels of a smooth random field.

    Decay 3, lam ~ Beta(1, 1), every batch, as in the authors' trainer. Their code draws one mask a batch, from fields
    that are symmetric about a point by an oversight (see :class:`~trainables.mixing.masks.fourier.Fourier`), and
    labels by the drawn lam, which differs from the realised one by less than a pixel.
    """
    return _policy(mask=Fourier(decay=3.0), position=TorusPosition())


def gridmix() -> dict[str, Any]:
    """GridMix's mixing (Baek et al., Pattern Recognition 109, 2021): each cell of a grid from one of the images.

    The label follows the share of cells. The abstract gives neither the number of cells, the law of lam nor the
    probability, and the authors published no code: 4 by 4 cells, Beta(1, 1) and every sample are ours. Their loss on
    each cell's own label is left out. Packages called GridMixup paste one hole a cell, a different mask.
    """
    return _policy(mask=Grid(cells=4), position=WholePosition())


def hmix() -> dict[str, Any]:
    """HMix (Park et al., NeurIPS 2022, arXiv 2208.09913, section 5): a box of half the drawn fraction before a blend.

    r = 0.5 is that of the paper's figure 3, lam ~ Beta(1, 1). We found neither r nor the probability of the reported
    runs; the authors' code mixes every batch by default, by one lam and one box.
    """
    return _policy(mask=HMix(inner_frac=0.5))


def gmix() -> dict[str, Any]:
    """GMix (Park et al., NeurIPS 2022, arXiv 2208.09913, section 5): the smaller share is seen in a Gaussian bump.

    lam ~ Beta(1, 1), the bump's integral is the share before the border cuts it off, and the label follows what is
    left. The probability of the reported runs was not found; the authors' code mixes every batch by default, by one
    lam and one centre, and measures both axes in heights.
    """
    return _policy(mask=Gauss(sigma="area"))


def smoothmix() -> dict[str, Any]:
    """SmoothMix (Lee et al., CVPR 2020 Workshops), the circle: the partner in a Gaussian bump, labels by its mean.

    The standard deviation is uniform from 0.25 to 0.5 of the side, as in the public code (OpenMixup's gives the label
    to the wrong image). The probability was not found: 0.5, as CutMix on CIFAR. That code draws one bump a batch.
    """
    return _policy(mask=Gauss(sigma="side"), size=UniformSize(lo=0.25, hi=0.5), apply={"prob": 0.5})


def resizemix() -> dict[str, Any]:
    """ResizeMix (Qin et al., arXiv 2012.11101, 2020): the whole partner, shrunk, on a random place inside.

    Its side is uniform between 0.1 and 0.8 of the image's. The authors' code applies it to every batch, with one
    scale for all; it takes the nearest pixel and moves patches that would leave the image to the border, where they
    pile up. Here the patch is smoothed and uniform among the places inside.
    """
    return _policy(size=UniformSize(lo=0.1, hi=0.8, of="side"), position=InsidePosition(), source="resized")


def saliencymix() -> dict[str, Any]:
    """SaliencyMix (Uddin et al., ICLR 2021, section 3.2): CutMix's box about the partner's most salient pixel.

    lam ~ Beta(1, 1) and probability 0.5 are the authors' for CIFAR. Their code takes the saliency of one image for
    the whole batch, by another method; here each sample has its own partner's, by spectral residual.
    """
    return _policy(position=SaliencyPosition(), apply={"prob": 0.5})


def objectmix() -> dict[str, Any]:
    """The partner's annotated box, pasted where it stands: CutMix (Yun et al., ICCV 2019) that never pastes background.

    No publication does just this; it needs data with boxes. ``position: {kind: object}`` on ``cutmix`` is the other
    way to look at objects: the paper's box, centred in the partner's.
    """
    return _policy(mask=Object(), size=FixedSize(frac=1.0), position=WholePosition(), apply={"prob": 0.5})


def superpixelgridmix() -> dict[str, Any]:
    """SuperpixelGridMix (Hammoudi et al., arXiv 2204.08458, 2022): a fifth of the partner's 100 superpixels.

    100 and 0.2 are the values reported as best. Each superpixel is pasted with that probability there; here as many
    as make the area. The probability of application was not found: 0.5, as CutMix on CIFAR.
    """
    return _policy(mask=Superpixel(cells=10), size=FixedSize(frac=0.2), position=WholePosition(), apply={"prob": 0.5})


def torchvision() -> dict[str, Any]:
    """Torchvision's training recipe (references/classification, 2021): Mixup or CutMix, by a coin for each batch.

    Alpha is 0.2 for Mixup and 1 for CutMix; every batch is mixed, with one lam and one box of whole pixels, and the
    partner is the sample before. Helpers of some releases give Mixup's alpha to both by mistake. The recipe's label
    smoothing of 0.1 is left to ``label.smoothing``.
    """
    habits = _batch_habits(RollPairing())
    cut = _policy(mask=Box(whole_px=True), **habits)
    return _policy(
        mask=Flat(), size=BetaSize(alpha=0.2), position=WholePosition(), alternate=_half(cut, "batch"), **habits
    )


def torchvision_cutmix() -> dict[str, Any]:
    """``torchvision.transforms.v2.CutMix`` at its defaults (2023): one box a batch, of whole pixels, alpha 1.

    The partner is the sample before, every batch is mixed and the label follows the clipped area.
    """
    return _policy(mask=Box(whole_px=True), **_batch_habits(RollPairing()))


def timm() -> dict[str, Any]:
    """``timm.data.Mixup`` in mode batch (Wightman, 2019), as DeiT runs it (Touvron et al., ICML 2021, table 9).

    Mixup with alpha 0.8 or CutMix with alpha 1, by a coin for each batch; every batch is mixed, with one lam and one
    box of whole pixels, and first and last are partners. Boxes are those of timm up to 1.0.28; releases since
    1.0.30 keep odd sides too, one pixel longer. The class's label smoothing of 0.1 is left to ``label.smoothing``.
    """
    return _timm("batch", "batch")


def timm_pair() -> dict[str, Any]:
    """``timm.data.Mixup`` in mode pair (Wightman, 2019): as ``timm``, but drawn for each pair of partners."""
    return _timm("pair", "sample")


def timm_elem() -> dict[str, Any]:
    """``timm.data.Mixup`` in mode elem (Wightman, 2019): as ``timm``, but drawn for each sample."""
    return _timm("sample", "sample")


def composer_cutmix() -> dict[str, Any]:
    """Composer's CutMix at its defaults (MosaicML, 2021): as the paper's code, one box a batch of whole pixels.

    Partners by a random permutation, alpha 1, every batch; with ``apply.prob`` 0.5 it is what the authors ran on CIFAR
    (Yun et al., ICCV 2019).
    """
    return _policy(mask=Box(whole_px=True), **_batch_habits(PermutePairing()))


def composer_mixup() -> dict[str, Any]:
    """Composer's Mixup at its defaults (MosaicML, 2021): one lam a batch, of which the partner gets the smaller part.

    The partner's share is the smaller one of z and 1 - z, z ~ Beta(0.2, 0.2): that law cut off above one half.
    """
    size = BetaSize(alpha=0.2, hi=0.5)
    return _policy(mask=Flat(), size=size, position=WholePosition(), **_batch_habits(PermutePairing()))


def _policy(**changes: Any) -> dict[str, Any]:
    """Return the paper's policy with changes; what is a variant is stated with all its parameters."""
    stated = {part: change.model_dump() if isinstance(change, Frozen) else change for part, change in changes.items()}
    return copy.deepcopy(merged(_PAPER, stated))


def _batch_habits(pairing: Frozen, *, granularity: str = "batch", gate: str = "batch") -> dict[str, Any]:
    return {"pairing": pairing, "granularity": granularity, "apply": {"prob": 1.0, "gate": gate}}


def _timm(granularity: Literal["sample", "pair", "batch"], gate: Literal["sample", "batch"]) -> dict[str, Any]:
    habits = _batch_habits(FlipPairing(), granularity=granularity, gate=gate)
    cut = _policy(mask=Box(whole_px=True), **habits)
    return _policy(
        mask=Flat(), size=BetaSize(alpha=0.8), position=WholePosition(), alternate=_half(cut, gate), **habits
    )


def _half(mix: dict[str, Any], gate: Literal["sample", "batch"]) -> dict[str, Any]:
    return {"prob": 0.5, "gate": gate, "mix": mix}


PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    preset.__name__: preset
    for preset in (
        off,
        cutmix,
        cutmix_scheduled,
        cutmix_fixed_size,
        cutmix_complete_label,
        cutmix_one_hot,
        cutmix_center_gaussian,
        feature_cutmix,
        cutmix_torus,
        cutout,
        random_erasing,
        mixup,
        manifold_mixup,
        fmix,
        gridmix,
        hmix,
        gmix,
        smoothmix,
        resizemix,
        saliencymix,
        objectmix,
        superpixelgridmix,
        torchvision,
        torchvision_cutmix,
        timm,
        timm_pair,
        timm_elem,
        composer_cutmix,
        composer_mixup,
    )
}
"""Named policies. DropBlock, the baseline of the CutMix paper that mixes nothing, is an option of the network."""


def expand_preset(values: str | Mapping[str, Any]) -> dict[str, Any]:
    """Turn a preset's name, or a mapping with the key ``preset``, into the parts it stands for.

    Raises:
        ValueError: the preset is unknown, or ``values`` are neither.
    """
    if isinstance(values, str):
        values = {"preset": values}
    if not isinstance(values, Mapping):
        raise ValueError(f"mix must be a preset's name or the parts of a policy, got {values!r}")
    changes = dict(values)
    if "preset" not in changes:
        return changes
    name = changes.pop("preset")
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}{did_you_mean(str(name), PRESETS)}")
    return copy.deepcopy(merged(PRESETS[name](), changes))  # what a caller changes must not reach the next one
