"""Which training images are used, and which of them are set apart for validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainables.errors import UserError
from trainables.seeds import generator

Indices = npt.NDArray[np.int64]


def split_indices(
    labels: npt.NDArray[np.int64], *, train_frac: float, val_frac: float, seed: int
) -> tuple[Indices, Indices]:
    """Draw the training and the validation images, each class apart.

    Of each class the share ``train_frac`` is used, and the share ``val_frac`` of that is for validation:
    rounded to whole images, but at least one for training and, where two are used, at least one for
    validation. For one seed and ``val_frac`` the draws nest: a larger ``train_frac`` keeps every image of a
    smaller one on its side.

    Args:
        labels: int64 [N], the class of each training image.
        train_frac: in (0, 1].
        val_frac: in (0, 1).
        seed: of both draws.

    Returns:
        Positions in ``labels`` to train on and to validate on: int64, sorted, disjoint.

    Raises:
        UserError: a class would have no image to train on, or no class an image to validate on.
    """
    sides = [
        _split_class(np.flatnonzero(labels == label), int(label), train_frac, val_frac, seed)
        for label in np.unique(labels)
    ]
    train, val = (np.sort(np.concatenate(side)) for side in zip(*sides, strict=True))
    if not len(val):
        raise UserError(
            f"no image is left for validation: data.train_frac={train_frac} leaves one image of each class; "
            "raise data.train_frac or add images"
        )
    return train, val


def _split_class(
    members: Indices, label: int, train_frac: float, val_frac: float, seed: int
) -> tuple[Indices, Indices]:
    used = int(len(members) * train_frac + 0.5)
    if not used:
        raise UserError(
            f"data.train_frac={train_frac} leaves none of the {len(members)} training images of class "
            f"{label}; it must be at least {0.5 / len(members):.3g}"
        )
    drawn = generator(seed, "split", label).permutation(members)[:used]
    for_validation = _for_validation(used, val_frac)
    return drawn[~for_validation], drawn[for_validation]


def _for_validation(used: int, val_frac: float) -> npt.NDArray[np.bool_]:
    """Return bool [used]: which images, in the order drawn, are for validation.

    They are interleaved in place of taken from one end, so that an image's side depends on the images drawn
    before it only: this is what makes the draws nest.
    """
    drawn = np.arange(used + 1)
    so_far = np.floor(drawn * val_frac + 0.5).clip(1, None)
    so_far = np.minimum(so_far, drawn - 1).clip(0, None)
    sides: npt.NDArray[np.bool_] = np.diff(so_far) > 0
    return sides
