"""Made-up frames of any number of arms with long names, and a check that a figure can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

LONG = (
    "cutmix_torus_displaced_source_box_in_box",
    "cutmix clipped, realised label, per sample",
    "fourier_decay_3_soft_edge_8px_background_mixup",
    "saliency_resized_partner_same_class",
)
NAMES = (*LONG, *(f"another_arm_{place}" for place in range(10)))
METRICS = (
    ("classification", "last", "top1_error"),
    ("calibration", "raw", "ece"),
    ("calibration", "temperature scaled", "ece"),
    ("adversarial", "fgsm eps=8/255", "robust_error"),
    ("adversarial", "pgd20 eps=8/255", "robust_error"),
    ("ood", "natural mean / msp", "auroc"),
    ("corruption", "", "mean_error"),
)


@dataclass(frozen=True)
class Frames:
    """What ``analysis.data.frames.Sweep`` has."""

    arms: tuple[str, ...]
    manifest: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame
    evaluations: pd.DataFrame


def make_frames(n_arms: int, n_trials: int = 6, n_epochs: int = 8) -> Frames:
    """Make trials whose error falls; each fourth is stopped at epoch 4, each third is a control."""
    rng, arms = np.random.default_rng(n_arms), NAMES[:n_arms]
    trials, epochs, decisions, evaluations = [], [], [], []
    for place, arm in enumerate(arms):
        for number in range(n_trials):
            key = {"arm": arm, "trial": f"{arm}-{number:04d}"}
            errors = 0.3 - 0.01 * place + 0.4 * np.exp(-np.arange(1, n_epochs + 1) / 2) + rng.normal(0, 0.01, n_epochs)
            stopped = number % 4 == 3
            n_done = 4 if stopped else n_epochs
            epochs += [{**key, "epoch": at + 1, "val_top1_error": errors[at]} for at in range(n_done)]
            trials.append({**key, **_trial(number, place, rng), "status": "stopped" if stopped else "completed"})
            trials[-1]["final_val_top1_error"] = np.nan if stopped else errors[-1]
            decisions += [{**key, **_decision(number, rung, errors, stopped)} for rung in (2, 4)]
            evaluations += [] if stopped else [{**key, **_value(named, rng)} for named in METRICS]
    dtype = pd.CategoricalDtype(list(arms), ordered=True)
    frames = (pd.DataFrame(rows).astype({"arm": dtype}) for rows in (trials, epochs, decisions, evaluations))
    manifest = {"study": {"budget": {"early_stopping": {"rule": "none"}}}}
    return Frames(arms, manifest, *frames)


def _trial(number: int, place: int, rng: np.random.Generator) -> dict[str, object]:
    drawn: dict[str, object] = {"mix.size.alpha": np.exp(rng.uniform(-2, 1)), "mix.apply.prob": rng.uniform()}
    drawn |= {"mix.position.kind": str(rng.choice(["clip", "torus"]))}
    drawn |= {"optimizer.weight_decay": 10 ** rng.uniform(-4, -2)}
    doses = {"centre": 0.1 + 0.03 * place, "edge": 0.3 - 0.01 * place, "corner": 0.1 + 0.02 * (place % 5)}
    return {
        **{"replicate": number, "seed": number, "control": number % 3 == 0},
        **{f"params.{path}": value for path, value in drawn.items()},
        **{f"dose_coverage_{where}": value for where, value in doses.items()},
    }


def _decision(number: int, rung: int, errors: np.ndarray, stopped: bool) -> dict[str, object]:
    verdict = "stop" if stopped and rung == 4 else "spared" if number % 3 == 0 else "continue"
    row = {"rule": "asha", "metric": "val_top1_error", "rung_epochs": rung, "value": errors[rung - 1]}
    row |= {"cutoff": 0.5 if number > 2 else np.nan, "n_recorded": number + 1, "verdict": verdict}
    return {**row, "time_s": 1e9 + 60.0 * (3 * number + rung)}


def _value(named: tuple[str, str, str], rng: np.random.Generator) -> dict[str, object]:
    axis, setting, metric = named
    row = {"axis": axis, "split": "test", "setting": setting, "metric": metric}
    return {**row, "value": rng.uniform(), "n": 1000, "time_s": 1.0}


@pytest.fixture(scope="session")
def made() -> Callable[[int], Frames]:
    """Made-up frames of so many arms."""
    cache: dict[int, Frames] = {}
    return lambda n_arms: cache.setdefault(n_arms, make_frames(n_arms))


@pytest.fixture
def texts_drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], list[Text]]:
    """Draw a figure and return every text that it shows."""

    def draw(figure: Figure) -> list[Text]:
        shown: list[Text] = []
        original = Text.draw

        def record(text: Text, renderer: object) -> None:
            if text.get_visible() and text.get_text().strip():
                shown.append(text)
            original(text, renderer)

        figure.canvas.draw()  # lays it out
        with monkeypatch.context() as patched:
            patched.setattr(Text, "draw", record)
            figure.canvas.draw()
        return shown

    return draw


@pytest.fixture
def check_legible(texts_drawn: Callable[[Figure], list[Text]]) -> Callable[[Figure], None]:
    """Check that no text of a figure is cut, hides another or is smaller than 8 points."""

    def check(figure: Figure) -> None:
        texts = texts_drawn(figure)
        boxes = [(text, text.get_window_extent()) for text in texts]
        width, height = figure.canvas.get_width_height()
        inside = [min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1 for _, box in boxes]
        assert [text.get_text() for text, fits in zip(texts, inside, strict=True) if not fits] == []
        hidden = [
            (first.get_text(), second.get_text())
            for (first, a), (second, b) in combinations(boxes, 2)
            if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
        ]
        assert hidden == []
        assert [text.get_text() for text in texts if text.get_fontsize() < 8] == []
        assert figure.get_figwidth() <= 7.0  # a page's width: nothing is made smaller in print

    return check
