"""Mixing policies by name, each with its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainables.errors import did_you_mean
from trainables.merging import merged

_PAPER: dict[str, Any] = {
    "mask": {"family": "box", "aspect_max": 1.0},
    "size": {"kind": "beta", "alpha": 1.0},
    "position": {"kind": "clip"},
    "content": "partner",
    "apply": {"prob": 1.0},
}
"""What every preset starts from and states in full, so that no part of another policy shines through."""


def off() -> dict[str, Any]:
    """No mixing at all."""
    return merged(_PAPER, {"apply": {"prob": 0.0}})


def cutmix() -> dict[str, Any]:
    """CutMix (Yun et al., ICCV 2019, equations 1 and 2): box of area 1 - lam, lam ~ Beta(1, 1), clipped at the border.

    The text names no application probability; 0.5 is the authors' setting for CIFAR (1.0 for ImageNet).
    """
    return merged(_PAPER, {"apply": {"prob": 0.5}})


def mixup() -> dict[str, Any]:
    """Mixup (Zhang et al., ICLR 2018, equation 1): blend of two images, lam ~ Beta(1, 1), always applied."""
    return merged(_PAPER, {"mask": {"family": "flat"}, "position": {"kind": "whole"}})


def cutout() -> dict[str, Any]:
    """Cutout (DeVries and Taylor, 2017): a square of half the side, clipped at the border, set to the mean colour.

    16 of 32 pixels is their setting for CIFAR-10; the label stays.
    """
    return merged(_PAPER, {"size": {"kind": "fixed", "frac": 0.25}, "content": "zero"})


def random_erasing() -> dict[str, Any]:
    """Random Erasing (Zhong et al., AAAI 2020, algorithm 1, section 4): noise on a rectangle of 2 to 40 % of the area.

    Aspect ratio between 0.3 and 1/0.3, applied with probability 0.5, always inside the image; the label stays.
    """
    changes = {
        "mask": {"aspect_max": 1 / 0.3},
        "size": {"kind": "uniform", "lo": 0.02, "hi": 0.4},
        "position": {"kind": "inside"},
        "content": "noise",
        "apply": {"prob": 0.5},
    }
    return merged(_PAPER, changes)


PRESETS: dict[str, Callable[[], dict[str, Any]]] = {
    preset.__name__: preset for preset in (off, cutmix, mixup, cutout, random_erasing)
}
"""Named policies."""


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
    return merged(PRESETS[name](), changes)
