"""Configuration of the images of a trial."""

from __future__ import annotations

from pydantic import Field, field_validator

from trainables.data.sources.registry import split_source
from trainables.strict import Frozen


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

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        split_source(source)
        return source
