"""Interface of a network by name: what is known before torch is imported, and how it is built."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, cast

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet


class Network(ABC):
    """A network that a study can name.

    A new network is one file in this folder. It imports torch inside :meth:`build` only, because configurations are
    checked without torch. A network outside this package declares no ``name``: a study names it
    ``package.module:Class``.

    Attributes:
        name: ``model.name`` in a study file.
        n_stages: number of stages; a stage is a layer that can be mixed at.
        residuals: regular expression of the paths of the modules in the built network that end a residual branch:
            their output is added to the shortcut. ``model.stochastic_depth`` and ``model.shakedrop`` scale these
            outputs, in the order of the modules. Empty: the network does not take these options.
        has_width: whether ``model.width`` may be another value than 1.
        is_square: whether the network takes square images only.
        has_last_stride: whether convolutions alone make the stride of the last stage, so that ``model.last_stride``
            can remove it.
    """

    name: ClassVar[str]
    n_stages: ClassVar[int]
    residuals: ClassVar[str] = ""
    has_width: ClassVar[bool] = True
    is_square: ClassVar[bool] = False
    has_last_stride: ClassVar[bool] = False

    @abstractmethod
    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights, drawn from torch's global generator, which the caller seeds.

        Args:
            n_classes: number of logits.
            side_px: shorter side of the images, at least 4; the last map must be 4x4 or larger.
            width: factor on the number of channels of each layer; in a family with a size of its own for the width,
                factor on that size.
        """


class Family(Network):
    """Networks that differ in sizes, which their names contain: ``wrn28_10`` has depth 28 and width factor 10.

    A family is declared like a network, with a ``pattern`` in place of a ``name``.

    Attributes:
        form: form of the names for messages, with the sizes in capital letters.
        pattern: regular expression of the names. Each of its groups becomes a class attribute of the network: an
            integer, or for a group without digits whether the name has it.
        common: names that help, completion and "did you mean" list.
    """

    form: ClassVar[str]
    pattern: ClassVar[str]
    common: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def includes(cls, name: str) -> bool:
        """Return whether a name has the pattern of this family."""
        return re.fullmatch(cls.pattern, name) is not None

    @classmethod
    def member(cls, name: str) -> type[Network]:
        """Return the network of a name that has the pattern.

        Raises:
            ValueError: the family has no network of these sizes.
        """
        match = re.fullmatch(cls.pattern, name)
        assert match is not None
        sizes = {key: int(text) if text and text.isdigit() else bool(text) for key, text in match.groupdict().items()}
        attributes = {"name": name, "__module__": cls.__module__, "__doc__": cls.__doc__, **sizes}
        network = cast("type[Family]", type(cls.__name__, (cls,), attributes))
        try:
            network.check_sizes()
        except ValueError as error:
            raise ValueError(f"there is no network '{name}': {error}") from None
        return network

    @classmethod
    def check_sizes(cls) -> None:
        """Check the sizes in the name of a network.

        Raises:
            ValueError: a size that the family does not have.
        """


def check_depth(depth: int, *, per_block: int, others: int) -> None:
    """Check that three stages of equally many blocks give a depth.

    Args:
        depth: number of weight layers.
        per_block: weight layers of a block.
        others: weight layers outside the blocks.

    Raises:
        ValueError: they do not; the message has the nearest depths.

    Examples:
        >>> check_depth(28, per_block=2, others=4)
        >>> check_depth(30, per_block=2, others=4)
        Traceback (most recent call last):
        ValueError: its depth must be 6 n + 4 with n >= 1, for example 28 or 34, got 30
    """
    step = 3 * per_block
    n_blocks, rest = divmod(depth - others, step)
    if n_blocks < 1 or rest:
        lower = max(1, n_blocks)
        raise ValueError(
            f"its depth must be {step} n + {others} with n >= 1, for example {lower * step + others} or "
            f"{(lower + 1) * step + others}, got {depth}"
        )
