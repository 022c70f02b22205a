"""Operations that a policy chooses from, and the numbers that they are rendered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

AFFINE = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
"""Operations that move pixels."""

TABLES = ("brightness", "contrast", "posterize", "solarize", "auto_contrast", "equalize", "invert")
"""Operations that map each value of a channel to another value."""

OPERATIONS = ("identity", *AFFINE, *TABLES, "color", "sharpness", "hue")
"""Names of all operations; the code of an operation is its place here. Those of one kind are neighbours."""

CODES: Mapping[str, int] = {name: code for code, name in enumerate(OPERATIONS)}
"""Code of each operation by its name."""


@dataclass(frozen=True)
class Levels:
    """Amounts of one operation at equally spaced levels of strength.

    What an amount means: the tangent of a shear; whole pixels of a translation; degrees of a rotation; the factor of
    brightness, color, contrast or sharpness minus 1; the bits that ``posterize`` keeps; the threshold of ``solarize``
    as a fraction of 255. The other operations have none.

    Attributes:
        first: amount at the lowest level.
        last: amount at the highest level.
        signed: whether the amount is multiplied by -1 with probability 0.5.
        unit: what the amounts are multiples of: 1, or height or width of the image.
        whole: how amounts become whole numbers, if they do.

    Examples:
        >>> Levels(0, 0.5, signed=True, unit="width", whole="towards_zero").at(3, height_px=32, width_px=9)
        array([0., 2., 4.], dtype=float32)
    """

    first: float = 0.0
    last: float = 0.0
    signed: bool = False
    unit: Literal["1", "height", "width"] = "1"
    whole: Literal["", "nearest", "towards_zero"] = ""

    def at(self, n_levels: int, *, height_px: int, width_px: int) -> np.ndarray:
        """Return the amounts of all levels, float32 [n_levels]."""
        factor = {"1": 1, "height": height_px, "width": width_px}[self.unit]
        amounts = np.linspace(self.first * factor, self.last * factor, n_levels)
        if self.whole == "nearest":
            amounts = np.rint(amounts)
        elif self.whole == "towards_zero":
            amounts = np.trunc(amounts)
        return amounts.astype(np.float32)


Space = Mapping[str, Levels]
"""Levels of the operations of a policy, by name."""


def spread(shear: float, translate: float, degrees: float, factor: float, *, unit: Literal["px", "frac"]) -> Space:
    """Return the levels that the published policies share, from 0 to the given ends, each with a random sign.

    Args:
        shear: tangent of the largest shear.
        translate: largest translation, in pixels or as a fraction of the side.
        degrees: largest rotation.
        factor: largest deviation of the factors of brightness, color, contrast and sharpness from 1.
        unit: unit of ``translate``.
    """
    along_x: Literal["1", "width"] = "width" if unit == "frac" else "1"
    along_y: Literal["1", "height"] = "height" if unit == "frac" else "1"
    return {
        "shear_x": Levels(0, shear, signed=True),
        "shear_y": Levels(0, shear, signed=True),
        "translate_x": Levels(0, translate, signed=True, unit=along_x, whole="towards_zero"),
        "translate_y": Levels(0, translate, signed=True, unit=along_y, whole="towards_zero"),
        "rotate": Levels(0, degrees, signed=True),
        **{name: Levels(0, factor, signed=True) for name in ("brightness", "color", "contrast", "sharpness")},
        "solarize": Levels(1, 0),
        "auto_contrast": Levels(),
        "equalize": Levels(),
    }


def amounts_of(space: Space, n_levels: int, *, height_px: int, width_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return amounts by code and level, float32 [n_operations, n_levels], and whether codes are signed, bool.

    Codes of operations that the space lacks have amount 0.
    """
    amounts, signed = np.zeros((len(OPERATIONS), n_levels), np.float32), np.zeros(len(OPERATIONS), dtype=bool)
    for name, levels in space.items():
        amounts[CODES[name]] = levels.at(n_levels, height_px=height_px, width_px=width_px)
        signed[CODES[name]] = levels.signed
    return amounts, signed


def matrices(codes: np.ndarray, amounts: np.ndarray, *, height_px: int, width_px: int) -> np.ndarray:
    """Return where the pixels of drawn operations come from: float32 [..., 6], from the centre of the image.

    A pixel (x, y) comes from (a x + b y + c, d x + e y + f), where [a, b, c, d, e, f] is a row of the matrices, and x
    and y are distances from the centre in pixels. Shears keep the upper left corner in place, rotations the centre, as
    in torchvision. Operations that move nothing have the identity.

    Args:
        codes: codes of the operations, uint8 [...].
        amounts: their amounts, float32 [...].
        height_px: height of the images.
        width_px: width of the images.

    Examples:
        >>> codes, amounts = np.array([CODES["translate_x"], CODES["invert"]]), np.array([3.0, 0.0])
        >>> matrices(codes, amounts, height_px=8, width_px=8)
        array([[ 1.,  0., -3.,  0.,  1.,  0.],
               [ 1.,  0.,  0.,  0.,  1.,  0.]], dtype=float32)
    """

    def of(name: str) -> np.ndarray:
        return np.where(codes == CODES[name], amounts, 0).astype(np.float64)

    angle = np.radians(of("rotate"))
    shear_x, shear_y = of("shear_x"), of("shear_y")
    a_and_e = np.cos(angle)
    b, c = shear_x - np.sin(angle), shear_x * height_px / 2 - of("translate_x")
    d, f = shear_y + np.sin(angle), shear_y * width_px / 2 - of("translate_y")
    return np.stack([a_and_e, b, c, d, a_and_e, f], axis=-1).astype(np.float32)
