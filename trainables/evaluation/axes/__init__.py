"""What a trained model is worth, one file an axis: a file here with an :class:`Axis` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from trainables.evaluation.base import Axis

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

AXES: dict[str, type[Axis]] = {axis.name: axis for axis in sorted(Axis.__subclasses__(), key=lambda axis: axis.name)}
"""Axes by name, as the command line and the records have them; their settings are the fields of each."""
