"""How a published quantity is measured here: the axis, the condition and the metric of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NATURAL = ("tiny-imagenet crop", "tiny-imagenet resize", "lsun crop", "lsun resize", "isun")
NOISE = ("uniform", "gaussian")
"""Sets of OOD images of Table A2."""


@dataclass(frozen=True)
class Quantity:
    """A quantity of a table.

    Its own value in percent is 100 times the weighted mean of the recorded fractions.

    Attributes:
        axis: evaluation axis.
        metric: recorded metric.
        conditions: weight by recorded condition; all must be recorded.
        either: recorded conditions of which one is enough, the best one first; in place of ``conditions``. Each
            ends with the name of the data of the axis.
        complement: whether the value is 1 minus the recorded one, for example accuracy from error.
        published: metrics among the published numbers whose mean it is compared with; empty: its own name.
        dataset: data set of the published numbers, where it is another one than that of the training.
    """

    axis: str
    metric: str
    conditions: Mapping[str, float] = field(default_factory=lambda: {"": 1.0})
    either: tuple[str, ...] = ()
    complement: bool = False
    published: tuple[str, ...] = ()
    dataset: str = ""


def _error(metric: str) -> Quantity:
    return Quantity("classification", metric, {"last, float32": 1.0})


def _ood(metric: str) -> dict[str, Quantity]:
    """Return a metric over all sets, weighted as the mean over the paper's sets is, over natural images and noise."""
    name = f"ood_{metric}"
    natural, noise = "natural mean / msp", "noise mean / msp"
    return {
        name: Quantity("ood", metric, {natural: float(len(NATURAL)), noise: float(len(NOISE))}),
        f"{name}_natural": Quantity("ood", metric, {natural: 1.0}, published=_of_sets(name, NATURAL)),
        f"{name}_noise": Quantity("ood", metric, {noise: 1.0}, published=_of_sets(name, NOISE)),
    }


def _of_sets(name: str, sets: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name} ({each})" for each in sets)


def _robust_accuracy(attack: str) -> Quantity:
    return Quantity("adversarial", "robust_error", {f"{attack} eps=8/255": 1.0}, complement=True)


def _caption(metric: str) -> Quantity:
    return Quantity("captioning", metric, either=("coco", "scenes"), dataset="coco")


def _detector(name: str) -> Quantity:
    data = ("voc07+12", "voc07", "scenes")
    return Quantity("detection", "voc07_map", either=tuple(f"{name}, {each}" for each in data), dataset="voc")


QUANTITIES: dict[str, Quantity] = {
    "top1_error": _error("top1_error"),
    "top5_error": _error("top5_error"),
    "top1_loc": Quantity("localization", "top1_loc_error", {"cam threshold=0.15": 1.0}, complement=True),
    "box_acc_v2": Quantity("localization", "box_acc_v2", {"cam": 1.0}),
    "fgsm_top1_accuracy": _robust_accuracy("fgsm"),
    "pgd20_top1_accuracy": _robust_accuracy("pgd20"),
    "occlusion_center_area": Quantity("occlusion", "area", {"center": 1.0}),
    "occlusion_boundary_area": Quantity("occlusion", "area", {"boundary": 1.0}),
    "in_between_mixup": Quantity("occlusion", "in_between_mean", {"mixup": 1.0}),
    "in_between_cutmix": Quantity("occlusion", "in_between_mean", {"cutmix hole": 1.0}),
    **_ood("tnr_at_tpr95"),
    **_ood("auroc"),
    **_ood("detection_accuracy"),
    "voc_ssd_map": _detector("ssd"),
    "voc_faster_rcnn_map": _detector("faster_rcnn"),
    **{f"coco_caption_bleu{n}": _caption(f"bleu_{n}") for n in range(1, 5)},
    "coco_caption_meteor": _caption("meteor"),
    "coco_caption_rouge": _caption("rouge_l"),
    "coco_caption_cider": _caption("cider"),
}
"""Quantities by their names in tables, which are those of the published metrics where there are any."""


def published_metrics(name: str) -> tuple[str, ...]:
    """Return the published metrics whose mean a quantity is compared with.

    Examples:
        >>> published_metrics("top1_error"), len(published_metrics("ood_auroc_natural"))
        (('top1_error',), 5)
    """
    return QUANTITIES[name].published or (name,)
