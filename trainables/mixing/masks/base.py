"""The abstract base of mask families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from trainables.mixing.position import PLACING
from trainables.parts import name_by_import_path
from trainables.strict import Frozen

if TYPE_CHECKING:
    import torch

    from trainables.mixing.batch_view import BatchView
    from trainables.mixing.canvas import Canvas
    from trainables.mixing.partners import Partners
    from trainables.mixing.size import Size


class Mask(Frozen, ABC):
    """A family of masks: where the partner's pixels are pasted.

    A new family is one file in this folder, named like the family. It subclasses this class, declares
    ``family: Literal["..."] = "..."`` and its options, and implements :meth:`parameters` and :meth:`render`. The study
    schema, the checks of policies, the dose, the preview and the contract tests find it there.

    A family outside this package declares no ``family``: a study names it ``package.module:Class``.

    Attributes:
        family: name in a study file; a subclass declares it as a ``Literal`` with a default.
        positions: names of the placing rules that the family supports.
        framed: whether a mask has a bounding box that a resized partner can fill.
        needs: what the family must know of the partners: ``images``, ``boxes``, ``maps`` of the network or nothing. A
            family with maps has an option ``maps``, the kind of maps.
        n_partners: number of partners that a mask always shows; None: any number.
        sizes_per_mask: fractions that are drawn from ``size`` per mask.
        exact_area: whether, with the family's default parameters, the mean pasted fraction equals the requested one
            wherever nothing is cut off (torus, inside and whole). The contract tests verify it.
    """

    positions: ClassVar[tuple[str, ...]] = PLACING
    framed: ClassVar[bool] = False
    needs: ClassVar[Literal["images", "boxes", "maps"] | None] = None
    n_partners: ClassVar[int | None] = None
    sizes_per_mask: ClassVar[int] = 1
    exact_area: ClassVar[bool] = True
    family: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Name a family from outside this package by its import path; free one with its own ``draw`` of the rest."""
        super().__pydantic_init_subclass__(**kwargs)
        name_by_import_path(cls, "family")
        if not cls.has_parameters():
            cls.__abstractmethods__ = cls.__abstractmethods__ - {"parameters", "render"}

    @classmethod
    def has_parameters(cls) -> bool:
        """Return whether masks are drawn as parameters first: whether the family does not replace :meth:`draw`."""
        return cls.draw is Mask.draw

    def draw_fracs(self, size: Size, partners: Partners, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw what each partner shall show of the image, before any clipping: float64 [count, partners.count].

        Args:
            size: distribution of the pasted fraction.
            partners: number of partners, and how they divide this fraction.
            count: number of masks.
            rng: the only source of randomness.
        """
        return partners.divided(size.draw(count, rng), rng)

    @abstractmethod
    def parameters(self, pasted_frac: np.ndarray, canvas: Canvas) -> dict[str, np.ndarray]:
        """Draw everything that is random about one mask per sample, on the host.

        Args:
            pasted_frac: requested fraction of the image, float64 [B]; clipping may make the drawn mask smaller.
            canvas: size of the image, placing rule and generator.

        Returns:
            Arrays with one row per sample, [B, ...]. Names, types and shapes are the same for all draws. No comparison
            in :meth:`render` may depend on the last bit of a rounded number: return whole pixels, or numbers that
            :meth:`render` only adds, multiplies or compares in float64, which all devices round alike. Images are not
            known yet: :meth:`render` gets them.
        """

    @abstractmethod
    def render(self, parameters: Mapping[str, torch.Tensor], height_px: int, width_px: int) -> torch.Tensor:
        """Return the masks with given parameters, by tensor operations that work on any device.

        Nothing is random here. No value may be read back, no data copied to the device, and neither a shape nor a
        branch may depend on a value: a GPU records the operations once and replays them. Rows do not depend on each
        other: a part of the parameters gives that part of the masks.

        Args:
            parameters: what :meth:`parameters` returns, as tensors on one device; and :meth:`constants`; and
                :meth:`seen`.
            height_px: height of the image.
            width_px: width of the image.

        Returns:
            Mask that broadcasts to [B, 1, H, W] on the device of the parameters, 1 at the partner's pixels: bool for
            hard masks, float32 in [0, 1] for soft ones.
        """

    def constants(self, height_px: int, width_px: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Return tensors that all masks of a size share, for example a bank of maps, under names of their own."""
        return {}

    def seen(self, batch: BatchView | None, partner: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Return what :meth:`render` gets of a batch, with one row per mask.

        If the family needs ``images``: the partners' normalised ``images``, [B, C, H, W]. If it needs ``maps``: also
        the originals' images as ``own_images``, and the network's maps of partners and originals as ``maps`` and
        ``own_maps``, float32 [B, h, w].

        Args:
            batch: the batch that is about to be mixed.
            partner: index of each mask's partner in it, int64 [B], or [B * K] with K masks per sample one after
                another, on the device of its images.

        Raises:
            ValueError: the batch lacks what the family needs.
        """
        if self.needs not in ("images", "maps"):
            return {}
        if batch is None or batch.images is None or partner is None:
            raise ValueError("this policy needs the partners' images, but the batch has none")
        images = {"images": batch.images[partner]}
        if self.needs == "images":
            return images
        maps = batch.maps_of(getattr(self, "maps"))  # noqa: B009 - declared by the families that need maps
        per_sample = len(partner) // len(maps)
        own = [each if per_sample == 1 else each.repeat_interleave(per_sample, dim=0) for each in (batch.images, maps)]
        return images | {"own_images": own[0], "maps": maps[partner], "own_maps": own[1]}

    def draw(self, pasted_frac: np.ndarray, canvas: Canvas) -> torch.Tensor:
        """Draw one mask per sample: render freshly drawn parameters.

        A family may replace this method instead of defining :meth:`parameters` and :meth:`render`. Its masks are then
        drawn batch by batch in the training loop, never ahead for a whole epoch.

        Args:
            pasted_frac: requested fraction of the image, float64 [B]; clipping may make the drawn mask smaller.
            canvas: size of the image, placing rule, generator and device.

        Returns:
            Mask that broadcasts to [B, 1, H, W] on the canvas's device, 1 at the partner's pixels: bool for hard
            masks, float32 in [0, 1] for soft ones.
        """
        height_px, width_px = canvas.height_px, canvas.width_px
        drawn = self.parameters(pasted_frac, canvas)
        parameters = {name: canvas.on_device(values) for name, values in drawn.items()}
        parameters |= self.constants(height_px, width_px, canvas.device)
        partner = None if canvas.partner is None else canvas.on_device(canvas.partner)
        parameters |= self.seen(canvas.batch, partner)
        return self.render(parameters, height_px, width_px)
