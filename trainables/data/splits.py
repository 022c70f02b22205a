"""Split of the training images: images in use, and images for validation among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainables.errors import UserError
from trainables.seeds import generator

Indices = npt.NDArray[np.int64]


def split_indices(
    labels: npt.NDArray[np.int64], *, train_frac: float, val_frac: float, seed: int
) -> tuple[Indices, Indices]:
    """Draw the training and the validation images separately for each class.

    The fraction ``train_frac`` of each class is used, and the fraction ``val_frac`` of the used images validates. Both
    are rounded to whole images. At least one image per class is for training and, if two are used, at least one is for
    validation. For one seed and ``val_frac`` the draws nest: a larger ``train_frac`` keeps each image of a smaller one
    in its part.

    Args:
        labels: int64 [N], the class of each training image.
        train_frac: in (0, 1].
        val_frac: in (0, 1).
        seed: seed of both draws.

    Returns:
        Positions in ``labels`` to train on and to validate on: int64, sorted, disjoint.

    Raises:
        UserError: a class would have no image to train on, or no class would have an image to validate on.

    Examples:
        >>> train, val = split_indices(np.arange(10) % 2, train_frac=1.0, val_frac=0.2, seed=0)
        >>> len(train), len(val)
        (8, 2)
    """
    split_sizes(np.bincount(labels), train_frac=train_frac, val_frac=val_frac)
    sides = [
        _split_class(np.flatnonzero(labels == label), int(label), train_frac, val_frac, seed)
        for label in np.unique(labels)
    ]
    train, val = (np.sort(np.concatenate(side)) for side in zip(*sides, strict=True))
    return train, val


def split_sizes(
    class_counts: Sequence[int] | npt.NDArray[np.int64], *, train_frac: float, val_frac: float
) -> tuple[int, int]:
    """Return the numbers of images that :func:`split_indices` draws for training and for validation.

    Args:
        class_counts: number of images per class; classes without an image do not count.
        train_frac: in (0, 1].
        val_frac: in (0, 1).

    Raises:
        UserError: as :func:`split_indices`.

    Examples:
        >>> split_sizes([5, 5], train_frac=1.0, val_frac=0.2)
        (8, 2)
    """
    n_train = n_val = 0
    for label, count in enumerate(class_counts):
        used = _used(int(count), train_frac)
        if count and not used:
            raise UserError(
                f"data.train_frac={train_frac} leaves none of the {count} training images of class "
                f"{label}; it must be at least {0.5 / count:.3g}"
            )
        validating = int(_for_validation(used, val_frac).sum())
        n_train, n_val = n_train + used - validating, n_val + validating
    if not n_val:
        raise UserError(
            f"no image is left for validation: data.train_frac={train_frac} leaves one image of each class; "
            "raise data.train_frac or add images"
        )
    return n_train, n_val


def _split_class(
    members: Indices, label: int, train_frac: float, val_frac: float, seed: int
) -> tuple[Indices, Indices]:
    used = _used(len(members), train_frac)
    drawn = generator(seed, "split", label).permutation(members)[:used]
    for_validation = _for_validation(used, val_frac)
    return drawn[~for_validation], drawn[for_validation]


def _used(count: int, train_frac: float) -> int:
    return int(count * train_frac + 0.5)


def _for_validation(used: int, val_frac: float) -> npt.NDArray[np.bool_]:
    """Return the images, in the order drawn, that are for validation, bool [used].

    Validation images are interleaved with training images, not taken from one end. So the part of an image depends only
    on the images drawn before it, and the draws nest.
    """
    n_drawn = np.arange(used + 1)
    n_val = np.floor(n_drawn * val_frac + 0.5).clip(1, None)
    n_val = np.minimum(n_val, n_drawn - 1).clip(0, None)
    for_validation: npt.NDArray[np.bool_] = np.diff(n_val) > 0
    return for_validation
