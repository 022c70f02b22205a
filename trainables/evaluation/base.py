"""Interface of all evaluation axes: their settings, their input and their results."""

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
    """One measured number.

    Attributes:
        metric: name of the metric, for example ``auroc``; errors are fractions, not percentages.
        value: the number; NaN if it is undefined.
        n: number of images behind it (or pairs, or pixels: the axis says which).
        setting: condition within the axis, for example ``pgd20 eps=8/255``; empty if there is only one.
        split: split of the images.
        library: packages that computed it with their versions, see :func:`library`; empty: this program with torch.

    Examples:
        >>> Value("robust_error", 0.75, n=500, setting="pgd20 eps=8/255").split
        'test'
    """

    metric: str
    value: float
    n: int
    setting: str = ""
    split: Literal["test", "val", "train"] = "test"
    library: str = ""


@dataclass(frozen=True)
class Measured:
    """Results of one axis for one model.

    Attributes:
        values: all numbers.
        pictures: PNG files by name; the pictures of an arm's models are shown below one another.
    """

    values: tuple[Value, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)


class Axis(Frozen, ABC):
    """One property of a trained model that is measured. The fields are its settings; each axis is one file.

    An axis outside this package is requested as ``package.module:Class``; its ``name`` stands in the records.

    Attributes:
        n_images: largest number of test images, drawn by class, the same images for each model; None: all.
        seed: seed of all random draws.
    """

    name: ClassVar[str]
    """Name in the records and on the command line."""

    on_request: ClassVar[bool] = False
    """Whether the axis is measured only if it is named: it takes hours, or needs a setting."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Modules of the extra ``eval`` that the axis imports, see :data:`trainables.extras.EXTRAS`."""

    noisy: ClassVar[frozenset[str]] = frozenset()
    """Metrics that are times of a machine; only these differ between two calls."""

    headline: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(condition, metric) pairs that the terminal and the reports show; empty: all. The records hold all values."""

    n_images: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def needed_packages(self) -> tuple[str, ...]:
        """Return the modules of :attr:`packages` that these settings need; a subclass may need fewer than all."""
        return self.packages

    def check(self, about: ModelInfo) -> None:
        """Check, before data is opened, that the axis applies to a model and its images.

        Raises:
            UserError: it does not apply; the message says why and what would be valid.
        """

    @abstractmethod
    def measure(self, subject: Subject) -> Measured:
        """Measure a model; two calls return the same values except for :attr:`noisy` metrics.

        Raises:
            Exception: any error is recorded, and the other axes and models are still measured.
        """


def library(*names: str) -> str:
    """Return names and versions of installed packages, for example ``torchcam 0.5.0``."""
    return ", ".join(f"{name} {version(name)}" for name in names)
