"""Trained models for use elsewhere: as weights that this program reads, or as a program that torch alone runs."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from trainables.errors import UserError, did_you_mean
from trainables.models.saved import FORMAT, Normalize, SavedModel
from trainables.whole_file import write_whole

Form = Literal["weights", "program"]

SUFFIXES: dict[Form, str] = {"weights": ".pt", "program": ".pt2"}
"""How files of each form end."""

ABOUT = "model.json"
"""Name, inside a program's file, of what is known of the model."""


def export_model(saved: SavedModel, path: Path, form: Form) -> None:
    """Write a trained model to a file, whole or not at all; a file of that name is replaced.

    - ``weights``: what :func:`~trainables.models.saved.read_model` reads: the configuration, the names of the classes,
      the normalisation, and the weights, with those of the last step beside their moving average where there is one.
      It loads without running code (``torch.load(path, weights_only=True)``).
    - ``program``: the network as a graph of torch's own operations, with its weights and the normalisation inside:
      ``torch.export.load(path).module()`` runs it where this package is not installed. It maps images in [0, 1],
      float32 [B, 3, H, W] of the size trained on and any B, to logits, float32 [B, C], as ``saved.model`` does; a
      moving average alone is kept. Pass ``extra_files={"model.json": ""}`` to ``load``, and the dictionary then
      holds a JSON text with ``classes``, ``config``, ``weights`` (``last`` or ``ema``), ``height_px``, ``width_px``
      and the channels' ``mean`` and ``std``. Such a file is for the torch that wrote it and newer ones, and torch
      unpickles parts of it: load none that you do not trust.

    Args:
        saved: the model; it stays as it is.
        path: the file; by convention it ends as ``SUFFIXES`` say.
        form: ``weights`` or ``program``.

    Raises:
        UserError: there is no such form, or the file cannot be written.
    """
    if form not in get_args(Form):
        raise UserError(f"unknown form of a model '{form}'{did_you_mean(form, get_args(Form))}")
    content = _weights(saved) if form == "weights" else _program(saved)
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"cannot write the model to '{path}': {error.strerror or error}") from None


def _weights(saved: SavedModel) -> memoryview:
    mean, std = _normalization(saved)
    state = {
        "format": FORMAT,
        "config": _config(saved),
        "weights": saved.net.state_dict(),
        "last_weights": None if saved.last is saved.model else saved.last[1].state_dict(),
        "classes": list(saved.classes),
        "mean": mean,
        "std": std,
        "height_px": saved.height_px,
        "width_px": saved.width_px,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def _program(saved: SavedModel) -> memoryview:
    # contiguous weights: torch's writer of programs takes those that are channels last for parts of larger tensors
    model = copy.deepcopy(saved.model).cpu().to(memory_format=torch.contiguous_format)
    images = torch.zeros(2, 3, saved.height_px, saved.width_px)  # a batch of 1 would be taken for a fixed size
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(_about(saved), indent=2)})
    return buffer.getbuffer()


def _about(saved: SavedModel) -> dict[str, Any]:
    mean, std = _normalization(saved)
    return {
        "classes": list(saved.classes),
        "config": _config(saved),
        "weights": saved.weights_name,
        "height_px": saved.height_px,
        "width_px": saved.width_px,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "torch": torch.__version__,
    }


def _config(saved: SavedModel) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(saved.config.model_dump_json())
    return config


def _normalization(saved: SavedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the channels' means and deviations, float32 [3], on the host."""
    normalize = saved.normalize
    assert isinstance(normalize, Normalize)
    return normalize.mean.flatten().cpu().clone(), normalize.std.flatten().cpu().clone()
