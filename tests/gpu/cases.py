"""Kinds of training steps that are checked: every preset, and what is added to a step."""

from __future__ import annotations

from typing import Any

from trainables.augment.policies import POLICIES
from trainables.mixing.presets import PRESETS

CASES: dict[str, dict[str, Any]] = {
    **{name: {"mix": name} for name in PRESETS},
    "cutmix, EMA": {"mix": "cutmix", "optimizer": {"ema_decay": 0.99}},
    "cutmix, DropBlock": {"mix": "cutmix", "model": {"dropblock": {"block_px": 3}}},
    "cutmix, stochastic depth": {"mix": "cutmix", "model": {"stochastic_depth": {"granularity": "sample"}}},
    "cutmix, ShakeDrop": {"mix": "cutmix", "model": {"shakedrop": {}}},
    "cutmix, AdamW": {"mix": "cutmix", "optimizer": {"name": "adamw", "lr": 0.001}},
    "cutmix, drawn layer": {"mix": {"preset": "cutmix", "layer": [0, 1]}},
    "cutmix, FGSM": {"mix": "cutmix", "adversarial": {"kind": "fgsm"}},
    "cutmix, PGD without random start": {
        "mix": "cutmix",
        "adversarial": {"kind": "pgd", "steps": 2, "random_start": False},
    },
    **{f"cutmix, {kind}": {"mix": "cutmix", "augment": {"policy": {"kind": kind}}} for kind in POLICIES},
    "cutmix, crop and colours": {
        "mix": "cutmix",
        "augment": {"resized_crop": {}, "color_jitter": {"hue": 0.1}, "lighting": {}},
    },
}
"""Sections of the configuration by the name of the case."""

WITHOUT_TABLE = {"saliencymix": "position.kind 'saliency' depends on the images of the batch"}
"""Cases whose batches cannot be drawn ahead, and so are not replayed as a graph; with the reason."""
