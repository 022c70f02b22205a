"""Configuration of the images of a trial."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainables.data.sources.registry import SOURCES, split_source
from trainables.strict import Frozen

STORED_PX = 320
"""Default of ``stored_px``."""


def _is_default(value: Any) -> bool:
    return value in ("pixels", None, 1.0)


class Data(Frozen):
    """Images to train on, and how they are split, resized and batched.

    Attributes:
        source: name of a data source, with a path where it reads files, for example ``digits`` or
            ``imagefolder:photos``; :data:`trainables.data.sources.registry.SOURCES` holds all.
        image_size_px: side to which images are resized (short side, then centre crop); None keeps the source's size.
        train_frac: fraction of the training images that is used, drawn by class.
        val_frac: fraction of the used training images that validates, drawn by class.
        split_seed: seed of both draws, equal for all trials of a sweep.
        batch_size: images per training step; the last batch of an epoch may be smaller.
        pad_px: zero padding on each side before a random crop back to size; 0 turns the crop off.
        flip: random left-right flip; None uses the default of the source (photographs yes, digits no).
        store: ``pixels`` decodes each image once per node, to one size; ``jpeg`` keeps JPEGs of any size and decodes
            them when they are used, which is for data that would not fit on the disk as pixels.
        stored_px: largest short side of a stored JPEG; larger images are resized when the store is written. None: 320.
            Only with ``store: jpeg``.
        center_crop_frac: part of each image that is evaluated: the side of the centre crop as a fraction of the short
            side. The usual crop of 224 px from a short side of 256 px is 0.875. Pixels are stored with this crop, so
            that they are trained on with it as well.

    Examples:
        >>> Data(source="digits", image_size_px=24).val_frac
        0.2
    """

    source: str = "digits"
    image_size_px: int | None = Field(default=None, ge=8, le=1024)
    train_frac: float = Field(default=1.0, gt=0, le=1)
    val_frac: float = Field(default=0.2, gt=0, lt=1)
    split_seed: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    pad_px: int = Field(default=4, ge=0, le=128)
    flip: bool | None = None
    # left out of the dump with their defaults: what older versions recorded stays equal
    store: Literal["pixels", "jpeg"] = Field(default="pixels", exclude_if=_is_default)
    stored_px: int | None = Field(default=None, ge=32, le=4096, exclude_if=_is_default)
    center_crop_frac: float = Field(default=1.0, ge=0.25, le=1, exclude_if=_is_default)

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        split_source(source)
        return source

    @model_validator(mode="after")
    def _stores_what_there_is(self) -> Data:
        if self.stored_px is not None and self.store != "jpeg":
            raise ValueError("stored_px has no effect with store 'pixels': remove it, or set store to jpeg")
        if self.store == "pixels" and self.center_crop_frac == 1:
            return self
        name, _ = split_source(self.source)
        if not SOURCES[name].lists_files():
            option = "store 'jpeg'" if self.store == "jpeg" else "center_crop_frac"
            listing = ", ".join(other for other, kind in SOURCES.items() if kind.lists_files())
            raise ValueError(f"{option} needs one file per image, which source '{name}' does not have: use {listing}")
        stored_px = self.stored_short_px
        if stored_px is not None and self.image_size_px is not None and stored_px < self.image_size_px:
            raise ValueError(
                f"stored_px is {stored_px}, but image_size_px is {self.image_size_px}: stored images must not be "
                "smaller than the images that are trained on"
            )
        return self

    @property
    def stored_short_px(self) -> int | None:
        """Largest short side of the stored JPEGs; None: pixels are stored."""
        return None if self.store == "pixels" else self.stored_px or STORED_PX
