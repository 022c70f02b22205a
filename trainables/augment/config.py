"""Configuration of the random changes of an image before it is mixed: crop, policy, colours, lighting."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from trainables.augment.policies import AnyPolicy
from trainables.strict import Frozen

Pair = Annotated[tuple[float, float], Field(strict=False)]


def _is_none(value: object) -> bool:
    return value is None


class ResizedCrop(Frozen):
    """A crop of random area and aspect, resized to the size of the images (Szegedy et al., CVPR 2015, section 6).

    The window is drawn as by torchvision's ``RandomResizedCrop``: up to 10 tries, then the largest central window
    whose aspect is in range. The crop replaces that of ``data.pad_px``.

    Attributes:
        area_frac: lower and upper end of the window's area, as a fraction of the stored image; drawn uniformly.
        aspect: lower and upper end of width / height of the window; its logarithm is drawn uniformly.

    Examples:
        >>> ResizedCrop(area_frac=(0.5, 1.0)).aspect
        (0.75, 1.3333333333333333)
    """

    area_frac: Pair = (0.08, 1.0)
    aspect: Pair = (3 / 4, 4 / 3)

    @field_validator("area_frac")
    @classmethod
    def _is_a_fraction(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ends[0] <= ends[1] <= 1:
            raise ValueError(f"must be [lower, upper] with 0 < lower <= upper <= 1, got {list(ends)}")
        return ends

    @field_validator("aspect")
    @classmethod
    def _is_positive(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ends[0] <= ends[1]:
            raise ValueError(f"must be [lower, upper] with 0 < lower <= upper, got {list(ends)}")
        return ends


class ColorJitter(Frozen):
    """Random brightness, contrast, saturation and hue, in an order that is drawn for each image (Howard, 2013).

    A factor x of brightness, contrast or saturation is uniform in [max(0, 1 - x), 1 + x], as in torchvision's
    ``ColorJitter``. The defaults are those of the authors' code of CutMix for ImageNet.

    Attributes:
        brightness: largest deviation of the factor on all pixels from 1; 0: unchanged.
        contrast: largest deviation of the factor on the difference from the mean grey level from 1; 0: unchanged.
        saturation: largest deviation of the factor on the difference from the grey image from 1; 0: unchanged.
        hue: largest rotation of the hue, as a fraction of the circle; 0: unchanged.

    Raises:
        ValueError: all four are 0.

    Examples:
        >>> ColorJitter(hue=0.1).brightness
        0.4
    """

    brightness: float = Field(default=0.4, ge=0, le=10)
    contrast: float = Field(default=0.4, ge=0, le=10)
    saturation: float = Field(default=0.4, ge=0, le=10)
    hue: float = Field(default=0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _changes_something(self) -> ColorJitter:
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise ValueError("brightness, contrast, saturation and hue are all 0: raise one of them, or set null")
        return self


class Lighting(Frozen):
    """Noise along the principal components of the colours of ImageNet (Krizhevsky et al., NeurIPS 2012, section 4.1).

    Each image gets one shift per channel: the sum over the components of eigenvector times eigenvalue times a normal
    number. The results are rounded to whole grey levels.

    Attributes:
        sd: standard deviation of the three normal numbers.

    Examples:
        >>> Lighting().sd
        0.1
    """

    sd: float = Field(default=0.1, gt=0, le=10)


class Augment(Frozen):
    """Random changes of each training image before mixing, in this order: crop, flip, policy, colours, lighting.

    The flip is ``data.flip``. Images that are evaluated are not changed.

    Attributes:
        resized_crop: a crop of random area and aspect in place of the crop of ``data.pad_px``; None: none.
        policy: operations that are drawn for each image, by ``kind``; None: none.
        color_jitter: random brightness, contrast, saturation and hue; None: none.
        lighting: noise along the principal components of the colours; None: none.

    Examples:
        >>> Augment.model_validate({"policy": {"kind": "rand_augment", "magnitude": 7}}).policy.n_ops
        2
        >>> Augment().is_off
        True
    """

    resized_crop: ResizedCrop | None = Field(default=None, exclude_if=_is_none)
    policy: AnyPolicy | None = Field(default=None, exclude_if=_is_none)
    color_jitter: ColorJitter | None = Field(default=None, exclude_if=_is_none)
    lighting: Lighting | None = Field(default=None, exclude_if=_is_none)

    @property
    def is_off(self) -> bool:
        """Whether no part is set."""
        return self == Augment()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is set, without numbers: the sections, and the kind of the policy.

        Examples:
            >>> Augment.model_validate({"policy": {"kind": "trivial_augment"}, "lighting": {}}).kinds
            ('trivial_augment', 'lighting')
        """
        return tuple(line.partition(",")[0] for line in self.describe())

    def describe(self, varying: Collection[str] = ()) -> tuple[str, ...]:
        """Return one short line per part that is set, in the order in which they are applied.

        Args:
            varying: paths in the section whose values are left out, for example ``policy.magnitude``.

        Examples:
            >>> augment = Augment.model_validate({"policy": {"kind": "rand_augment"}, "lighting": {}})
            >>> augment.describe(varying=["policy.magnitude"])
            ('rand_augment, n_ops 2', 'lighting, sd 0.1')
        """
        parts: dict[str, tuple[str, dict[str, str]]] = {}
        if self.resized_crop is not None:
            ends = {name: f"{low:.3g} to {high:.3g}" for name, (low, high) in self.resized_crop.model_dump().items()}
            parts["resized_crop"] = "resized crop", ends
        if self.policy is not None:
            parts["policy"] = self.policy.kind, self.policy.describe_parameters()
        if self.color_jitter is not None:
            used = {name: f"{value:g}" for name, value in self.color_jitter.model_dump().items() if value}
            parts["color_jitter"] = "color jitter", used
        if self.lighting is not None:
            parts["lighting"] = "lighting", {"sd": f"{self.lighting.sd:g}"}
        return tuple(
            ", ".join([title, *(f"{name} {text}" for name, text in values.items() if f"{key}.{name}" not in varying)])
            for key, (title, values) in parts.items()
        )
