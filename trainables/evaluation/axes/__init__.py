"""Evaluation axes, one file per axis: the :class:`Axis` of each file in this folder is found without a list."""

from __future__ import annotations

import importlib
import pkgutil

from trainables.evaluation.base import Axis

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

AXES: dict[str, type[Axis]] = {axis.name: axis for axis in sorted(Axis.__subclasses__(), key=lambda axis: axis.name)}
"""Class of each axis by its name in the command line and the records; its fields are its settings."""
