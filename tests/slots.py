"""Slots of a machine that no node joins or leaves."""

from __future__ import annotations

from search_spaces.resources import Resources
from sweep.slots import LiveNode, Slots


def fixed_slots(number: int) -> Slots:
    """Return as many slots for trials with one CPU core each."""
    return Slots(Resources(cpus=1), lambda: [LiveNode("5f", "here", {"CPU": float(number)})])
