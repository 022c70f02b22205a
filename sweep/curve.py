"""Reported values of one trial, epoch by epoch."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, MutableMapping

from sweep.records.schema import ABOUT_EPOCH, EPOCHS

VALUE_COLUMNS = tuple(name for name in EPOCHS.columns.names if name not in ABOUT_EPOCH)
"""Columns of the table of epochs that hold a reported number."""


class Curve(MutableMapping[int, Mapping[str, float]]):
    """Values by epoch, from 1; epochs are added in order, and stay.

    A sweep keeps the curves of all its trials: a dict per epoch would take ten times the memory.

    Examples:
        >>> curve = Curve()
        >>> curve[1] = {"epoch": 1, **dict.fromkeys(VALUE_COLUMNS, 0.5)}
        >>> len(curve), curve[1]["epoch"], curve[1]["val_nll"]
        (1, 1, 0.5)
    """

    __slots__ = ("_columns", "_values")

    def __init__(self, columns: tuple[str, ...] = VALUE_COLUMNS) -> None:
        """Begin without epochs; only ``columns`` are kept."""
        self._columns = columns
        self._values = array("d")

    def __setitem__(self, epoch: int, values: Mapping[str, float]) -> None:
        """Append the values of the next epoch.

        Raises:
            ValueError: ``epoch`` is not the next one.
        """
        if epoch != len(self) + 1:
            raise ValueError(f"the next epoch is {len(self) + 1}, got {epoch}")
        self._values.extend([values[name] for name in self._columns])

    def __getitem__(self, epoch: int) -> dict[str, float]:
        """Return the values of an epoch; the dict is a copy."""
        if not 1 <= epoch <= len(self):
            raise KeyError(epoch)
        end = epoch * len(self._columns)
        values = self._values[end - len(self._columns) : end]
        return {"epoch": epoch, **dict(zip(self._columns, values, strict=True))}

    def column(self, name: str) -> dict[int, float]:
        """Return one of the values by epoch."""
        return dict(enumerate(self._values[self._columns.index(name) :: len(self._columns)], start=1))

    def __delitem__(self, epoch: int) -> None:
        """Refuse: a recorded epoch stays."""
        raise TypeError("a recorded epoch cannot be removed")

    def __iter__(self) -> Iterator[int]:
        """Yield the epochs, in order."""
        return iter(range(1, len(self) + 1))

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self._values) // len(self._columns)
