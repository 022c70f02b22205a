"""What all axes of evaluation have in common: their face, and what they are told and return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from trainables.strict import Frozen

if TYPE_CHECKING:
    from trainables.evaluation.subject import ModelInfo, Subject


@dataclass(frozen=True)
class Value:
    """One number.

    Attributes:
        metric: what was measured, as ``auroc``; an error or a share is a fraction, not a percentage.
        value: the number; nan where it is not defined.
        n: images (or pairs, or pixels: as the axis says) that it rests on.
        setting: under which of the axis' conditions, as ``pgd20 eps=8/255``; empty where there is one.
        split: images it was measured on.
        library: what computed it, with its version, see :func:`library`; empty: this program by torch.
    """

    metric: str
    value: float
    n: int
    setting: str = ""
    split: Literal["test", "val", "train"] = "test"
    library: str = ""


@dataclass(frozen=True)
class Measured:
    """What one axis says of one model.

    Attributes:
        values: all numbers.
        pictures: PNG files by name, for people to look at; those of an arm are put under one another.
    """

    values: tuple[Value, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)


class Axis(Frozen, ABC):
    """One thing that a model can be good at. The fields are its settings; one file, one axis.

    Attributes:
        n_images: test images it is measured on at most, drawn by class: the same ones for every model; None: all.
        seed: of everything that is drawn.
    """

    name: ClassVar[str]
    """Name in the records and on the command line."""

    on_request: ClassVar[bool] = False
    """Whether it is left out unless it is asked for by name: it takes hours, or needs a setting."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Modules of the extra ``eval`` that the axis imports, see :data:`trainables.extras.EXTRAS`."""

    noisy: ClassVar[frozenset[str]] = frozenset()
    """Metrics that are times of a machine: these alone differ from one call to the next."""

    headline: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What the terminal's table shows, as (setting, metric); empty: everything. All is recorded."""

    n_images: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def needed_packages(self) -> tuple[str, ...]:
        """Return the modules of :attr:`packages` that these settings need; a subclass may need fewer than all."""
        return self.packages

    def check(self, about: ModelInfo) -> None:
        """Refuse, before anything is opened or run, what this axis cannot be measured on.

        Raises:
            UserError: naming what does not suit and what would.
        """

    @abstractmethod
    def measure(self, subject: Subject) -> Measured:
        """Measure a model; two calls return the same, but for metrics that are :attr:`noisy`.

        Raises:
            Exception: whatever goes wrong: it is recorded, and other axes and models are measured all the same.
        """


def library(*names: str) -> str:
    """Return names and versions of installed packages, as ``foolbox 3.3.4``."""
    return ", ".join(f"{name} {version(name)}" for name in names)
