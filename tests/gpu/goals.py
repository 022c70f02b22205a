"""Ratios of the measured speeds, and the goals of the project."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tests.gpu.rows import FAIL, INFO, PASS, SKIP, Row

LEAST_IMAGES_PER_S = 53_000
"""ResNet-18 at 32 px on an H100, all trials together."""
LEAST_GRAPH_RATIO = 1.5
LEAST_PACKED_RATIO = 5.0

SECTION = "goals"


def goal_rows(rows: Sequence[Row], device: str, *, at_s: float) -> list[Row]:
    """Return ratios and goals as rows; a goal has a verdict on a GPU only."""
    speeds = {row.name: row.value for row in rows if row.unit == "images/s" and row.value}
    return [*_goals(speeds, device, at_s), *_ratios(speeds, at_s)]


def _goals(speeds: Mapping[str, float], device: str, at_s: float) -> Iterator[Row]:
    own = {name: speed for name, speed in speeds.items() if "plain" not in name and "bound" not in name}
    best = max((speed for name, speed in own.items() if name.startswith("resnet18,")), default=None)
    graph = _ratio(own, r"resnet18, auto, batch \d+$", r"resnet18, eager, batch \d+$")
    packed = _ratio(own, r"tiny, \d+ at once, ", r"tiny, 1 at once, ")
    for name, value, least, unit in (
        ("ResNet-18, 32 px, all trials together", best, LEAST_IMAGES_PER_S, "images/s"),
        ("graph step / eager step, ResNet-18", graph, LEAST_GRAPH_RATIO, "x"),
        ("packed trials of tiny / one trial", packed, LEAST_PACKED_RATIO, "x"),
    ):
        if value is None:
            verdict, remark = SKIP, "not measured"
        elif device == "cpu" or (unit != "x" and "H100" not in device):
            verdict, remark = INFO, f"the goal is {least:,} on an H100" if unit != "x" else "a goal on a GPU only"
        else:
            verdict, remark = PASS if value >= least else FAIL, f"the goal is at least {least:,} {unit}"
        yield Row(SECTION, name, verdict, value, unit, remark, at_s)


def _ratios(speeds: Mapping[str, float], at_s: float) -> Iterator[Row]:
    """Yield the ratios by which one chooses among ways to train."""
    for network in ("resnet18", "tiny", "cifar_resnet20"):
        auto, alone = rf"{network}, auto, batch \d+$", rf"{network}, 1 at once, time"
        for name, above, below in (
            ("graph step / eager step", auto, rf"{network}, eager, "),
            ("product / plain loop", auto, rf"{network}, plain loop with the authors'"),
            ("product / bound", auto, rf"{network}, bound"),
            ("plain loop with torchvision v2.CutMix / product", rf"{network}, plain loop with torchvision", auto),
            ("plain loop with timm Mixup / product", rf"{network}, plain loop with timm", auto),
            ("fp16 / bf16", rf"{network}, fp16, batch", auto),
            ("fastest / reproducible kernels", rf"{network}, fastest kernels, ", auto),
            ("several trials / one trial, time slices", rf"{network}, (?!1 )\d+ at once, time", alone),
            ("several trials / one trial, MPS", rf"{network}, \d+ at once, MPS", alone),
        ):
            ratio = _ratio(speeds, above, below)
            if ratio is not None:
                yield Row(SECTION, f"{network}: {name}", INFO, ratio, "x", "", at_s)


def _ratio(speeds: Mapping[str, float], above: str, below: str) -> float | None:
    """Return the best speed of one kind over the first of another; None if one of them is missing.

    Of two batch sizes the smaller one counts: it is measured first.
    """
    over = [speed for name, speed in speeds.items() if re.match(above, name)]
    under = [speed for name, speed in speeds.items() if re.match(below, name)]
    if not over or not under:
        return None
    return (max(over) if "at once" in above else over[0]) / under[0]
