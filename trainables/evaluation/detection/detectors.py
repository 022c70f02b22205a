"""torchvision's SSD and Faster R-CNN on the maps of a trial's network."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from trainables.errors import UserError
from trainables.evaluation.detection.backbone_maps import BackboneMaps, Level, levels_of
from trainables.networks.modules.staged import StagedNet

LARGEST_SSD_SIDE = 40
"""Cells on each side of the finest map of SSD: 38 in SSD300, from stage 2 of a ResNet-50 as in the paper on CutMix."""

EXTRA_CHANNELS = 256
"""Most channels of SSD's extra maps (Liu et al., ECCV 2016, figure 2; the first one has 512 there)."""

LEAST_CHANNELS = 64
"""Fewest channels of the pyramid and of SSD's extra maps, a quarter of the 256 in the literature: these layers belong
to the detector, and as few as the last maps of a narrow network would decide its precision in place of the network."""

PADDED_FROM = 4
"""Least side of a map whose extra layer is padded and halves it; a smaller one becomes 1x1, as in SSD300."""

FINEST_SCALE, SCALES, LAST_SCALE = 0.1, (0.2, 0.9), 1.075
"""Sides of SSD's default boxes by level as fractions of the image: the finest level, the range of the others, and the
size after the last. For six levels these are the scales of SSD300 on Pascal VOC (Liu et al., section 3.1)."""

FINEST_PYRAMID_STRIDE = 4
"""Stride of the finest map of a feature pyramid (Lin et al., CVPR 2017, section 3)."""

PYRAMID_CHANNELS, REPRESENTATION = 256, 1024
"""Most channels of the pyramid and of the box head: those of torchvision's Faster R-CNN."""

ANCHOR_CELLS = (4.0, 4 * math.sqrt(2), 8.0)
"""Sides of the anchors of a level in its cells: from half of the 8 cells of Lin et al. (section 4.1), because scenes
are small images of small objects."""

ASPECTS = (0.5, 1.0, 2.0)
ROI_CELLS = 7
SAMPLED_ROIS, SAMPLED_ANCHORS = 128, 256
"""Regions and anchors per image that the losses see (Ren et al., NeurIPS 2015, section 3.1.3; Girshick, ICCV 2015)."""

RANKED_ANCHORS = 2000
"""Anchors per level that are compared with one another, of which the proposals remain."""

N_PROPOSALS = {"training": 1000, "testing": 300}
SMALL_PX, SMALL_PART = 200, 4
"""Images with a smaller side hold few objects: sampled regions, anchors and proposals are then divided by this."""

MAX_DETECTIONS = 100
"""Most detections per image, as in the evaluation of COCO."""

Build = Callable[..., nn.Module]


def build_ssd(
    net: StagedNet, *, side_px: int, n_classes: int, mean: Sequence[float], std: Sequence[float]
) -> nn.Module:
    """Return SSD (Liu et al., ECCV 2016) for square images of ``side_px``, to which all images are resized.

    Its maps are those of the last stage per stride with at most 40 cells on a side, and extra layers that halve them
    down to one cell. For ResNet-50 and 300 px these are the sides 38, 19, 10, 5, 3 and 1 of SSD300, the first from
    stage 2. Weights of the new layers are drawn from torch's global generator.

    Args:
        net: the backbone, which becomes part of the detector.
        side_px: side of the images.
        n_classes: number of classes without the background.
        mean: mean of red, green and blue, in [0, 1], that the backbone knows.
        std: their standard deviations.

    Examples:
        >>> from trainables.config import Model
        >>> from trainables.models.build import build_model
        >>> net = build_model(Model(name="tiny"), n_classes=10, height_px=32, width_px=32, seed=0)
        >>> detector = build_ssd(net, side_px=96, n_classes=10, mean=[0.5] * 3, std=[0.2] * 3)
        >>> [round(scale, 2) for scale in detector.anchor_generator.scales]
        [0.1, 0.2, 0.43, 0.67, 0.9, 1.07]
    """
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD

    backbone = _SsdMaps(net, levels_of(net, side_px))
    n_levels = len(backbone.out_channels)
    # wide boxes of ratio 3 in the middle only, as in SSD300
    ratios = [[2, 3] if 0 < level < max(2, n_levels - 2) else [2] for level in range(n_levels)]
    detector: nn.Module = SSD(
        backbone,
        DefaultBoxGenerator(ratios, scales=_scales(n_levels)),
        (side_px, side_px),
        n_classes + 1,
        image_mean=list(mean),
        image_std=list(std),
        detections_per_img=MAX_DETECTIONS,
    )
    return detector


def build_faster_rcnn(
    net: StagedNet, *, side_px: int, n_classes: int, mean: Sequence[float], std: Sequence[float]
) -> nn.Module:
    """Return Faster R-CNN (Ren et al., NeurIPS 2015) with a feature pyramid (Lin et al., CVPR 2017).

    The pyramid is built on the last stage per stride from stride 4, so that every network can be its backbone. The
    paper on CutMix used a version without pyramid, whose regions pass through the last stage of a ResNet. The shorter
    side of an image becomes ``side_px``, the longer one at most 5/3 of it (600 and 1000 px there). Weights of the new
    layers are drawn from torch's global generator. Arguments: see :func:`build_ssd`.

    Raises:
        UserError: the network has no map of stride 4 or more.
    """
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    levels = pyramid_levels(net, side_px)
    backbone = _Pyramid(net, levels)
    strides = [*(level.stride for level in levels), 2 * levels[-1].stride]
    sizes = tuple(tuple(stride * cells for cells in ANCHOR_CELLS) for stride in strides)
    representation = min(REPRESENTATION, 4 * backbone.out_channels)
    part = SMALL_PART if side_px < SMALL_PX else 1
    detector: nn.Module = FasterRCNN(
        backbone,
        min_size=side_px,
        max_size=side_px * 5 // 3,
        image_mean=list(mean),
        image_std=list(std),
        rpn_anchor_generator=AnchorGenerator(sizes, (ASPECTS,) * len(sizes)),
        rpn_batch_size_per_image=SAMPLED_ANCHORS // part,
        rpn_pre_nms_top_n_train=RANKED_ANCHORS // part,
        rpn_pre_nms_top_n_test=RANKED_ANCHORS // part,
        rpn_post_nms_top_n_train=N_PROPOSALS["training"] // part,
        rpn_post_nms_top_n_test=N_PROPOSALS["testing"] // part,
        box_roi_pool=MultiScaleRoIAlign([str(index) for index in range(len(levels))], ROI_CELLS, sampling_ratio=2),
        box_head=TwoMLPHead(backbone.out_channels * ROI_CELLS**2, representation),
        box_predictor=FastRCNNPredictor(representation, n_classes + 1),
        box_batch_size_per_image=SAMPLED_ROIS // part,
        box_detections_per_img=MAX_DETECTIONS,
    )
    return detector


DETECTORS: dict[str, Build] = {"ssd": build_ssd, "faster_rcnn": build_faster_rcnn}
"""Functions that build a detector, by name."""


def pyramid_levels(net: StagedNet, side_px: int) -> tuple[Level, ...]:
    """Return the levels that a feature pyramid is built on.

    Raises:
        UserError: the network has no map of stride 4 or more.
    """
    levels = levels_of(net, side_px)
    coarse = tuple(level for level in levels if level.stride >= FINEST_PYRAMID_STRIDE)
    if not coarse:
        raise UserError(
            f"a feature pyramid needs maps of stride {FINEST_PYRAMID_STRIDE} or more, but the last maps of the network "
            f"have stride {levels[-1].stride}, because it was trained on small images"
        )
    return coarse


class _SsdMaps(nn.Module):
    """Maps of a network and of extra layers, by number.

    Attributes:
        out_channels: channels of each map, which SSD reads.
    """

    def __init__(self, net: StagedNet, levels: Sequence[Level]) -> None:
        super().__init__()
        kept = [level for level in levels if level.side <= LARGEST_SSD_SIDE]
        self.maps = BackboneMaps(net, [level.layer for level in kept] or [levels[-1].layer])
        self.extras = nn.ModuleList()
        self.has_own_maps = bool(kept)
        channels, side = levels[-1].channels, levels[-1].side
        sides, widths = [level.side for level in kept], [level.channels for level in kept]
        while side > 1:
            extra_channels = _fitting(channels, EXTRA_CHANNELS)
            self.extras.append(_extra(channels, extra_channels, side))
            channels, side = extra_channels, -(-side // 2) if side >= PADDED_FROM else 1
            sides.append(side)
            widths.append(channels)
        self.first = next(index for index, each in enumerate(sides) if each <= LARGEST_SSD_SIDE)
        self.out_channels = widths[self.first :]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        own = self.maps(images)
        maps, last = (own if self.has_own_maps else []), own[-1]
        for extra in self.extras:
            last = extra(last)
            maps.append(last)
        return OrderedDict((str(index), each) for index, each in enumerate(maps[self.first :]))


def _extra(channels: int, extra_channels: int, side: int) -> nn.Sequential:
    """Return the layers from a map to the next coarser one."""
    halves = {"kernel_size": 3, "stride": 2, "padding": 1}
    last: dict[str, Any] = halves if side >= PADDED_FROM else {"kernel_size": side}
    inner = extra_channels // 2
    layers = nn.Sequential(
        nn.Conv2d(channels, inner, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, extra_channels, **last),
        nn.ReLU(inplace=True),
    )
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers


class _Pyramid(nn.Module):
    """Feature pyramid on the maps of a network.

    Attributes:
        out_channels: channels of each map, which Faster R-CNN reads.
    """

    def __init__(self, net: StagedNet, levels: Sequence[Level]) -> None:
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        super().__init__()
        self.maps = BackboneMaps(net, [level.layer for level in levels])
        self.out_channels = _fitting(levels[-1].channels, PYRAMID_CHANNELS)
        channels = [level.channels for level in levels]
        self.pyramid = FeaturePyramidNetwork(channels, self.out_channels, extra_blocks=LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = OrderedDict((str(index), each) for index, each in enumerate(self.maps(images)))
        pyramid: dict[str, Tensor] = self.pyramid(maps)
        return pyramid


def _fitting(channels: int, most: int) -> int:
    """Return as many channels as the network has, but at least ``LEAST_CHANNELS`` and at most ``most``."""
    return min(most, max(LEAST_CHANNELS, channels))


def _scales(n_levels: int) -> list[float]:
    """Return the sides of the default boxes of each level and the size after the last, as fractions of the image."""
    if n_levels == 1:
        return [SCALES[0], LAST_SCALE]
    low, high = SCALES
    others = [low + (high - low) * index / max(1, n_levels - 2) for index in range(n_levels - 1)]
    return [FINEST_SCALE, *others, LAST_SCALE]
