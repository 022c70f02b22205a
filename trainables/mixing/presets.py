"""Named mixing policies, each with its source.

Presets without a library's name draw everything per sample, with real-valued boxes. The authors' own code mostly draws
one size, one place and one decision to mix per batch, and rounds boxes to whole pixels. Presets with a library's name
do what the library does. No preset sets ``label.smoothing``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

from trainables.errors import did_you_mean
from trainables.merging import merged
from trainables.mixing.masks.attentive import Attentive
from trainables.mixing.masks.box import Box
from trainables.mixing.masks.flat import Flat
from trainables.mixing.masks.fourier import Fourier
from trainables.mixing.masks.gauss import Gauss
from trainables.mixing.masks.grid import Grid
from trainables.mixing.masks.hmix import HMix
from trainables.mixing.masks.object import Object
from trainables.mixing.masks.puzzle import Puzzle
from trainables.mixing.masks.quadrants import Quadrants
from trainables.mixing.masks.stack import Stack
from trainables.mixing.masks.superpixel import Superpixel
from trainables.mixing.pairing import FlipPairing, PermutePairing, RollPairing
from trainables.mixing.partners import Partners
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
    "partners": Partners().model_dump(),
    "pairing": PermutePairing().model_dump(),
    "granularity": "sample",
    "content": "partner",
    "label": {"exponent": 1.0, "lam": "realised", "by": "area"},
    "apply": {"prob": 1.0, "gate": "sample", "schedule": Trapezoid().model_dump()},
    "layer": 0,
    "alternate": None,
}
"""The start of every preset, stated in full, so that nothing is inherited from another policy."""

PRESETS: dict[str, Callable[[], dict[str, Any]]] = {}
"""Named policies. DropBlock, the baseline of the CutMix paper without mixing, is an option of the network."""


def _preset(parts: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Add a function that returns the parts of a policy to ``PRESETS``, under the function's name."""
    PRESETS[parts.__name__] = parts
    return parts


@_preset
def off() -> dict[str, Any]:
    """No mixing: the baseline of Yun et al., ICCV 2019, table 5."""
    return _policy(apply={"prob": 0.0})


@_preset
def cutmix() -> dict[str, Any]:
    """CutMix (Yun et al., ICCV 2019, equations 1 and 2): box of area 1 - lam, lam ~ Beta(1, 1), clipped at the border.

    The text does not give the probability; 0.5 is the authors' setting for CIFAR (1.0 for ImageNet). Their code draws
    one lam, one box and one decision to mix per batch; ``composer_cutmix`` with ``apply.prob`` 0.5 does the same.
    """
    return _policy(apply={"prob": 0.5})


@_preset
def cutmix_scheduled() -> dict[str, Any]:
    """Scheduled CutMix (Yun et al., ICCV 2019, section 4.1, table 8): probability from 0 to 1, linear over the run."""
    return _policy(apply={"prob": 1.0, "schedule": {"ramp_up_end": 1.0}})


@_preset
def cutmix_fixed_size() -> dict[str, Any]:
    """Fixed-size CutMix (Yun et al., ICCV 2019, section 4.1, table 8): a box of half the side, 16 of 32 pixels.

    The probability is not given, as in the other arms of that table; here it is that of ``cutmix``.
    """
    return _policy(size=FixedSize(frac=0.25), apply={"prob": 0.5})


@_preset
def cutmix_complete_label() -> dict[str, Any]:
    """Complete-label CutMix (Yun et al., ICCV 2019, section 4.1, table 8): each label counts one half for every area.

    The probability is not given; here it is that of ``cutmix``.
    """
    return _policy(label={"exponent": 0.0}, apply={"prob": 0.5})


@_preset
def cutmix_one_hot() -> dict[str, Any]:
    """One-hot CutMix (Yun et al., ICCV 2019, section 4.1, table 8): only the label of the larger part counts.

    The probability is not given; here it is that of ``cutmix``.
    """
    return _policy(label={"exponent": "inf"}, apply={"prob": 0.5})


@_preset
def cutmix_center_gaussian() -> dict[str, Any]:
    """Center Gaussian CutMix (Yun et al., ICCV 2019, section 4.1, table 8): boxes near the image's centre.

    Neither the standard deviation nor the probability is given. Here they are a quarter of the side (varied by
    ``mix.position.sigma_frac``) and that of ``cutmix``.
    """
    return _policy(position=GaussPosition(sigma_frac=0.25), apply={"prob": 0.5})


@_preset
def feature_cutmix() -> dict[str, Any]:
    """Feature CutMix (Yun et al., ICCV 2019, section 4.1, figure 3 and table 3): maps are mixed instead of images.

    Here the maps after the first stage. The figure's layers 2, 3 and 4 are stages 1, 2 and 3, and its layer 0 is the
    image; its layer 1, before the first stage, is not available. Arms with different ``mix.layer``, or a choice over
    it, reproduce the figure. From a list of layers one is drawn per batch, as in table 3, but the text does not name
    its candidates. The probability is not given either; here it is that of ``cutmix``.
    """
    return _policy(layer=1, apply={"prob": 0.5})


@_preset
def cutmix_torus() -> dict[str, Any]:
    """CutMix (after Yun et al., ICCV 2019) with boxes that wrap around the borders; no publication does this.

    The pasted area is exactly the drawn one, and all pixels are covered equally often. Neither the dose nor the place
    depends on the size, so this preset is suited to compare shapes and size distributions.
    """
    return _policy(position=TorusPosition(), apply={"prob": 0.5})


@_preset
def cutout() -> dict[str, Any]:
    """Cutout (DeVries and Taylor, 2017, section 3): a square of half the side, clipped at the border, of mean colour.

    16 of 32 pixels is their setting for CIFAR-10 (8 for CIFAR-100, 20 for SVHN), for every image; the label stays.
    """
    return _policy(size=FixedSize(frac=0.25), content="zero")


@_preset
def random_erasing() -> dict[str, Any]:
    """Random Erasing (Zhong et al., AAAI 2020, algorithm 1, section 4): noise on a rectangle of 2 to 40 % of the area.

    Aspect ratio between 0.3 and 1/0.3, probability 0.5, always inside the image; the label stays. The paper draws the
    ratio uniformly and each value from 0 to 255. Here the ratio is log-uniform and relative to the image's, so that
    wide and high rectangles are equally likely, and the noise is standard normal on normalised images.

    The erased fraction is uniform here: 0.21 of a mixed image on average. A rectangle that does not fit gets the
    nearest ratio that fits. Published code draws again, which makes large rectangles less likely. Means at 32x32 and
    at 17x64 px: algorithm 1 as printed 0.14 and 0.10 (it also draws the corner again), the authors' code 0.20 and
    0.135, torchvision 0.29 with this scale and ratio 0.20 and 0.17. The size is drawn before the shape, so that
    policies can be compared at equal size.
    """
    return _policy(
        mask=Box(aspect_max=1 / 0.3),
        size=UniformSize(lo=0.02, hi=0.4),
        position=InsidePosition(),
        content="noise",
        apply={"prob": 0.5},
    )


@_preset
def mixup() -> dict[str, Any]:
    """Mixup (Zhang et al., ICLR 2018, equation 1): blend of two images, lam ~ Beta(1, 1), always applied.

    Alpha 1 is the authors' value for CIFAR (0.2 for ImageNet). Their code draws one lam per batch.
    """
    return _policy(mask=Flat(), position=WholePosition())


@_preset
def manifold_mixup() -> dict[str, Any]:
    """Manifold Mixup (Verma et al., ICML 2019, section 2): the image or the maps after stage 1 or 2 are blended.

    One layer is drawn per batch; lam ~ Beta(2, 2), always applied, as in the authors' command for CIFAR. They use one
    binary loss per class and one lam per batch; here the loss is the same as for all policies.
    """
    return _policy(mask=Flat(), size=BetaSize(alpha=2.0), position=WholePosition(), layer=[0, 1, 2])


@_preset
def fmix() -> dict[str, Any]:
    """FMix (Harris et al., arXiv 2002.12047, 2020, section 4): the highest pixels of a smooth random field.

    Decay 3, lam ~ Beta(1, 1), always applied, as in the authors' trainer. Their code draws one mask per batch, from
    fields that are symmetric about a point by mistake (see :class:`~trainables.mixing.masks.fourier.Fourier`). It
    labels by the drawn lam, which differs from the realised one by less than one pixel.
    """
    return _policy(mask=Fourier(decay=3.0), position=TorusPosition())


@_preset
def gridmix() -> dict[str, Any]:
    """GridMix's mixing (Baek et al., Pattern Recognition 109, 2021): each cell of a grid from one of the images.

    The label is the fraction of cells. The abstract does not give the number of cells, the distribution of lam or the
    probability, and the authors published no code. Our choices are 4 by 4 cells, Beta(1, 1) and every sample. Their
    loss on the label of each cell is not included. Packages named GridMixup paste one hole per cell, another mask.
    """
    return _policy(mask=Grid(cells=4), position=WholePosition())


@_preset
def hmix() -> dict[str, Any]:
    """HMix (Park et al., NeurIPS 2022, arXiv 2208.09913, section 5): a box of half the drawn fraction on a blend.

    r = 0.5 is the value of the paper's figure 3, lam ~ Beta(1, 1). We did not find r or the probability of the reported
    runs. The authors' code mixes every batch by default, with one lam and one box.
    """
    return _policy(mask=HMix(inner_frac=0.5))


@_preset
def gmix() -> dict[str, Any]:
    """GMix (Park et al., NeurIPS 2022, arXiv 2208.09913, section 5): the smaller fraction is seen in a Gaussian bump.

    lam ~ Beta(1, 1). The bump's integral is the fraction before clipping at the border, and the label is the fraction
    after it. We did not find the probability of the reported runs. The authors' code mixes every batch by default, with
    one lam and one centre, and measures both axes in heights.
    """
    return _policy(mask=Gauss(sigma="area"))


@_preset
def smoothmix() -> dict[str, Any]:
    """SmoothMix (Lee et al., CVPR 2020 Workshops), the circle: the partner in a Gaussian bump, labels by its mean.

    The standard deviation is uniform from 0.25 to 0.5 of the side, as in the public code (that of OpenMixup gives the
    label to the wrong image). We did not find the probability: 0.5, as CutMix on CIFAR. That code draws one bump per
    batch.
    """
    return _policy(mask=Gauss(sigma="side"), size=UniformSize(lo=0.25, hi=0.5), apply={"prob": 0.5})


@_preset
def resizemix() -> dict[str, Any]:
    """ResizeMix (Qin et al., arXiv 2012.11101, 2020): the whole partner, shrunk, at a random place inside.

    Its side is uniform between 0.1 and 0.8 of the image's. The authors' code applies it to every batch with one scale.
    It uses the nearest pixel and moves patches that would leave the image to the border, where they accumulate. Here
    the patch is smoothed and uniform among the places inside. OpenMixup's ``resizemix`` is another law: CutMix's box of
    that side, clipped at the border, into which the partner is shrunk. It pastes 0.16 at 32 px on average, here 0.24.
    """
    return _policy(size=UniformSize(lo=0.1, hi=0.8, of="side"), position=InsidePosition(), source="resized")


@_preset
def saliencymix() -> dict[str, Any]:
    """SaliencyMix (Uddin et al., ICLR 2021, section 3.2): CutMix's box around the partner's most salient pixel.

    lam ~ Beta(1, 1) and probability 0.5 are the authors' values for CIFAR. Their code uses the saliency of one image
    for the whole batch, by another method. Here each sample uses that of its own partner, by spectral residual.
    """
    return _policy(position=SaliencyPosition(), apply={"prob": 0.5})


@_preset
def attentivemix() -> dict[str, Any]:
    """Attentive CutMix (Walawalkar et al., ICASSP 2020): the 6 of 7 by 7 cells of the partner with the most attention.

    6 is the number in public code (OpenMixup); we did not find the probability of mixing, and mix every sample. The
    authors' maps are those of a ResNet-50 that was trained on ImageNet before. Here the network in training looks at
    its own images (see :class:`~trainables.mixing.masks.attentive.Attentive`). The label is the pasted area.
    """
    return _policy(mask=Attentive(cells=7), size=FixedSize(frac=6 / 49), position=WholePosition())


@_preset
def snapmix() -> dict[str, Any]:
    """SnapMix (Huang, Wang and Tao, AAAI 2021): a box of the partner, resized into another box; labels by class maps.

    Both boxes have sizes from Beta(5, 5) and places of their own, clipped at the border: the authors' command for CUB,
    which mixes every batch (0.5 from random weights). Their code draws one pair of boxes per batch. It also counts the
    loss twice if both images have the same class; here that class gets both weights once. The loss is not divided by
    the sum of the weights, as there. Weights and maps: :func:`~trainables.mixing.class_shares.class_shares`.
    """
    return _policy(size=BetaSize(alpha=5.0), source="region", label={"by": "class_map"})


@_preset
def puzzlemix_no_transport() -> dict[str, Any]:
    """PuzzleMix (Kim, Choo and Song, ICML 2020) without its transport: blocks of both images keep what is salient.

    Saliency is the norm of the loss's gradient, lam ~ Beta(1, 1), 2, 4, 8 or 16 blocks per side, three labels, beta
    1.2, gamma 0.5, eta 0.2 and every batch: the authors' command for CIFAR-100. Their code draws one lam and one number
    of blocks per batch, and moves blocks within each image afterwards. The energy is minimised by another method (see
    :mod:`~trainables.mixing.block_labels`). They use one binary loss per class; here the loss is the same for all.
    """
    return _policy(mask=Puzzle(), position=WholePosition())


@_preset
def objectmix() -> dict[str, Any]:
    """The partner's annotated box, pasted at its own place: CutMix (Yun et al., ICCV 2019) without background.

    No publication does exactly this; it needs data with boxes. Another policy that uses objects is ``cutmix`` with
    ``position: {kind: object}``: the paper's box, centred in the partner's.
    """
    return _policy(mask=Object(), size=FixedSize(frac=1.0), position=WholePosition(), apply={"prob": 0.5})


@_preset
def superpixelgridmix() -> dict[str, Any]:
    """SuperpixelGridMix (Hammoudi et al., arXiv 2204.08458, 2022): a fifth of the partner's 100 superpixels.

    100 and 0.2 are the values reported as best. There each superpixel is pasted with that probability; here as many
    are pasted as the area needs. We did not find the probability of mixing: 0.5, as CutMix on CIFAR.
    """
    return _policy(mask=Superpixel(cells=10), size=FixedSize(frac=0.2), position=WholePosition(), apply={"prob": 0.5})


@_preset
def ricap() -> dict[str, Any]:
    """RICAP (Takahashi et al., ACML 2018, arXiv 1811.09030, section 3): random crops of four images in four quadrants.

    The point where they meet is at (w, h), w and h ~ Beta(0.3, 0.3) each, and the label is the areas. All four images
    show a random crop, the original too. Every batch is mixed, beta 0.3 as on CIFAR. The authors' code draws one point
    and one place per crop for a whole batch; ``granularity: batch`` does the same. They permute all four images; here
    the first is the sample itself, which changes the order within the batch alone.
    """
    return _policy(
        mask=Quadrants(),
        size=BetaSize(alpha=0.3),
        position=WholePosition(),
        source="displaced",
        partners=Partners(count=3),
    )


@_preset
def ricap_same_place() -> dict[str, Any]:
    """``ricap`` (Takahashi et al., ACML 2018) without displacement: each quadrant shows its own place of its image.

    No publication does exactly this. It tells what the crops contribute to ``ricap``.
    """
    return merged(ricap(), {"source": "same"})


@_preset
def stackmix() -> dict[str, Any]:
    """StackMix (Chen et al., UAI 2022, arXiv 2011.12618) at a fixed input: two images stacked, one half of label each.

    The paper concatenates two images, so that the input is twice as large. Here each is shrunk to half the height, so
    that networks and cost stay the same, and measured images are single ones. So results are not those of the paper.
    """
    return _policy(mask=Stack(), size=FixedSize(frac=0.5), position=WholePosition(), source="resized")


@_preset
def mixup_three() -> dict[str, Any]:
    """Mixup of three images with weights from Dirichlet(1, 1, 1) (Zhang et al., ICLR 2018, section 3).

    The paper reports no further gain over two images. It does not give the parameters; here all weights are equally
    likely, as those of ``mixup``.
    """
    return _policy(
        mask=Flat(),
        size=BetaSize(alpha=1.0, beta=2.0),
        position=WholePosition(),
        partners=Partners(count=2, alpha=1.0),
    )


@_preset
def cutmix_three() -> dict[str, Any]:
    """CutMix (after Yun et al., ICCV 2019) of three images: boxes of two partners, half of the pasted area each.

    No publication does exactly this. Size, place and probability are those of ``cutmix``. Boxes are clipped at the
    border, and the second one may cover the first.
    """
    return _policy(partners=Partners(count=2), apply={"prob": 0.5})


@_preset
def torchvision() -> dict[str, Any]:
    """Torchvision's training recipe (references/classification, 2021): Mixup or CutMix, at random per batch.

    Alpha is 0.2 for Mixup and 1 for CutMix. Every batch is mixed, with one lam and one box of whole pixels, and the
    partner is the previous sample. Compared with the classes of torchvision 0.29: equal. Helpers of some releases use
    Mixup's alpha for both by mistake. For the recipe's label smoothing set ``label.smoothing`` to 0.1.
    """
    library = _library(RollPairing())
    alternate = {"prob": 0.5, "gate": "batch", "mix": _policy(mask=Box(whole_px=True), **library)}
    return _policy(mask=Flat(), size=BetaSize(alpha=0.2), position=WholePosition(), alternate=alternate, **library)


@_preset
def torchvision_cutmix() -> dict[str, Any]:
    """``torchvision.transforms.v2.CutMix`` at its defaults (2023): one box per batch, in whole pixels, alpha 1.

    The partner is the previous sample, every batch is mixed, and the label is the clipped area. Compared with
    torchvision 0.29: equal.
    """
    return _policy(mask=Box(whole_px=True), **_library(RollPairing()))


@_preset
def timm() -> dict[str, Any]:
    """``timm.data.Mixup`` in mode batch (Wightman, 2019), as DeiT runs it (Touvron et al., ICML 2021, table 9).

    Mixup with alpha 0.8 or CutMix with alpha 1, at random per batch. Every batch is mixed, with one lam and one box of
    whole pixels, and first and last are partners. Boxes are those of timm up to 1.0.28. Releases since 1.0.29 also have
    odd sides, one pixel longer: CutMix then pastes 4 % more at 32 px and 0.5 % more at 224 px. For the class's label
    smoothing set ``label.smoothing`` to 0.1.
    """
    return _timm("batch", "batch")


@_preset
def timm_pair() -> dict[str, Any]:
    """``timm.data.Mixup`` in mode pair (Wightman, 2019): ``timm``, but drawn per pair of partners."""
    return _timm("pair", "sample")


@_preset
def timm_elem() -> dict[str, Any]:
    """``timm.data.Mixup`` in mode elem (Wightman, 2019): ``timm``, but drawn per sample."""
    return _timm("sample", "sample")


@_preset
def composer_cutmix() -> dict[str, Any]:
    """Composer's CutMix at its defaults (MosaicML, 2021): as in the paper's code, one box of whole pixels per batch.

    Partners by a random permutation, alpha 1, every batch, as in Composer 0.32.1. With ``apply.prob`` 0.5 it is the
    authors' run on CIFAR (Yun et al., ICCV 2019).
    """
    return _policy(mask=Box(whole_px=True), **_library(PermutePairing()))


@_preset
def composer_mixup() -> dict[str, Any]:
    """Composer's Mixup at its defaults (MosaicML, 2021): one lam per batch; the partner gets the smaller part.

    The partner's fraction is the smaller one of z and 1 - z, z ~ Beta(0.2, 0.2): Beta(0.2, 0.2) truncated above one
    half. Compared with the code of Composer 0.32.1.
    """
    size = BetaSize(alpha=0.2, hi=0.5)
    return _policy(mask=Flat(), size=size, position=WholePosition(), **_library(PermutePairing()))


def _policy(**changes: Any) -> dict[str, Any]:
    """Return the paper's policy with changes; each changed variant is stated with all its parameters."""
    stated = {part: change.model_dump() if isinstance(change, Frozen) else change for part, change in changes.items()}
    return copy.deepcopy(merged(_PAPER, stated))


def _library(pairing: Frozen, *, granularity: str = "batch", gate: str = "batch") -> dict[str, Any]:
    """Return the parts that presets of libraries have in common: always applied, one draw per batch by default."""
    return {"pairing": pairing, "granularity": granularity, "apply": {"prob": 1.0, "gate": gate}}


def _timm(granularity: Literal["sample", "pair", "batch"], gate: Literal["sample", "batch"]) -> dict[str, Any]:
    library = _library(FlipPairing(), granularity=granularity, gate=gate)
    alternate = {"prob": 0.5, "gate": gate, "mix": _policy(mask=Box(whole_px=True), **library)}
    return _policy(mask=Flat(), size=BetaSize(alpha=0.8), position=WholePosition(), alternate=alternate, **library)


def expand_preset(values: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a policy that is given as a preset's name or as a mapping, with or without ``preset``.

    Args:
        values: a name, or the parts of a policy; with the key ``preset`` the other keys change parts of that preset.

    Raises:
        ValueError: the preset is unknown, or ``values`` is neither a name nor a mapping.

    Examples:
        >>> expand_preset("mixup")["mask"]
        {'family': 'flat'}
        >>> expand_preset({"preset": "cutmix", "apply": {"prob": 1.0}})["apply"]["prob"]
        1.0
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
    return copy.deepcopy(merged(PRESETS[name](), changes))  # a copy: a caller's change must not reach the next caller
