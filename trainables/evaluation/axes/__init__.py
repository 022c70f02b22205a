"""Evaluation axes, one file per axis: the :class:`Axis` of each file in this folder is found without a list."""

from __future__ import annotations

from trainables.discovery import import_variants
from trainables.evaluation.base import Axis
from trainables.parts import Registry

AXES: Registry[Axis] = Registry(
    "evaluation axis",
    Axis,
    {axis.name: axis for axis in sorted(import_variants(__name__, __path__, Axis), key=lambda axis: axis.name)},
    group="cutmix_sweep.axes",
    declares=("name",),
)
"""Class of each axis by its name in the command line and the records; its fields are its settings."""
