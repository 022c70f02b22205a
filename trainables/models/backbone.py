"""The backbone of a network: all its weights except those of the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from trainables.config import Model


def with_backbone(initial: Mapping[str, Tensor], weights: Mapping[str, Tensor], model: Model) -> dict[str, Tensor]:
    """Return the state of a network with the backbone of another one; the classifier keeps its weights.

    Args:
        initial: state of the network.
        weights: state of the other network.
        model: configuration of the network, which the message names.

    Raises:
        ValueError: the backbones do not match.

    Examples:
        >>> import torch
        >>> from trainables.config import Model
        >>> own, other = ({name: torch.full((1,), at) for name in ("stem.w", "classifier.w")} for at in (0.0, 1.0))
        >>> {name: value.item() for name, value in with_backbone(own, other, Model()).items()}
        {'stem.w': 1.0, 'classifier.w': 0.0}
    """
    backbone = {name: value for name, value in weights.items() if not _of_classifier(name)}
    for name in sorted((initial.keys() | backbone.keys()) - {name for name in initial if _of_classifier(name)}):
        shape, expected = (tuple(state[name].shape) if name in state else "absent" for state in (backbone, initial))
        if shape != expected:
            raise ValueError(
                f"the weights do not match {model.name} of width {model.width:g}: '{name}' is {shape}, "
                f"expected {expected}"
            )
    return {**initial, **backbone}


def _of_classifier(name: str) -> bool:
    return name.startswith("classifier.")
