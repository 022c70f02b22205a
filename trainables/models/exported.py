"""Export of trained models: weights for this program, or a program that runs with torch alone."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from trainables.errors import UserError, did_you_mean
from trainables.models.saved import FORMAT, Normalize, SavedModel
from trainables.saved_state import write_state
from trainables.whole_file import write_whole

Form = Literal["weights", "program"]

SUFFIXES: dict[Form, str] = {"weights": ".pt", "program": ".pt2"}
"""File ending of each form."""

ABOUT = "model.json"
"""Name of the description of the model inside the file of a program."""


def export_model(saved: SavedModel, path: Path, form: Form) -> None:
    """Write a trained model to a file, atomically; an existing file of that name is replaced.

    - ``weights``: a file for :func:`~trainables.models.saved.read_model`: configuration, names of the classes,
      normalisation and weights. With a moving average, it contains both the average and the weights of the last step.
      It loads without running code (``torch.load(path, weights_only=True)``).
    - ``program``: the network as a graph of torch operations, including weights and normalisation:
      ``torch.export.load(path).module()`` runs it without this package. Like ``saved.model``, it maps images in [0, 1],
      float32 [B, 3, H, W] of the training size and any B, to logits, float32 [B, C]. With a moving average, it
      contains the average only. Pass ``extra_files={"model.json": ""}`` to ``load``: the dictionary then holds a JSON
      text with ``classes``, ``config``, ``weights`` (``last`` or ``ema``), ``height_px``, ``width_px`` and the
      channels' ``mean`` and ``std``. The file is for the torch version that wrote it and newer versions. Torch
      unpickles parts of it: load only files that you trust.

    Args:
        saved: the model; left unchanged.
        path: the file; its usual ending is in ``SUFFIXES``.
        form: ``weights`` or ``program``.

    Raises:
        UserError: the form is unknown, or the file cannot be written.
    """
    if form not in get_args(Form):
        raise UserError(f"unknown form of a model '{form}'{did_you_mean(form, get_args(Form))}")
    try:
        if form == "weights":
            write_state(path, _weights(saved))
        else:
            write_whole(path, _program(saved))
    except OSError as error:
        raise UserError(f"cannot write the model to '{path}': {error.strerror or error}") from None


def _weights(saved: SavedModel) -> dict[str, Any]:
    mean, std = _normalization(saved)
    return {
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


def _program(saved: SavedModel) -> memoryview:
    # contiguous: torch's writer of programs mistakes channels-last weights for parts of larger tensors
    model = copy.deepcopy(saved.model).cpu().to(memory_format=torch.contiguous_format)
    images = torch.zeros(2, 3, saved.height_px, saved.width_px)  # torch would specialise the program to a batch of 1
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
    """Return the channels' means and standard deviations, float32 [3], on the host."""
    normalize = saved.normalize
    assert isinstance(normalize, Normalize)
    return normalize.mean.flatten().cpu().clone(), normalize.std.flatten().cpu().clone()
