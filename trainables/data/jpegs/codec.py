"""JPEGs to pixels and back: the only module that calls a decoder, so that another one, or a GPU's, needs one change."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

Pixels = npt.NDArray[np.uint8]

QUALITY = 90
"""Quality of the JPEGs that are written, on the scale of libjpeg, with 4:2:0 colours."""


def decode_jpeg(content: npt.NDArray[np.uint8] | bytes) -> Pixels:
    """Decode a JPEG to RGB, uint8 [H, W, 3]; other threads run meanwhile.

    The results are those of Pillow: both use libjpeg-turbo with its accurate inverse transform and smooth upsampling.

    Raises:
        ValueError: the content is no JPEG, or is damaged.

    Examples:
        >>> pixels = decode_jpeg(encode_jpeg(np.full((8, 12, 3), 100, np.uint8)))
        >>> pixels.shape, pixels[0, 0].tolist()
        ((8, 12, 3), [100, 100, 100])
    """
    pixels: Pixels = simplejpeg.decode_jpeg(content)
    return pixels


def encode_jpeg(pixels: Pixels) -> bytes:
    """Encode RGB, uint8 [H, W, 3], at :data:`QUALITY`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def resize_window(pixels: Pixels, window: npt.NDArray[np.int64], out: Pixels) -> None:
    """Cut a window out of an image and resize it with antialiasing, as torchvision's ``RandomResizedCrop``.

    Pixels outside the window have no influence. The results differ from Pillow's by at most one grey level.

    Args:
        pixels: uint8 [h, w, 3].
        window: top, left, height and width in pixels of the image, int64 [4].
        out: uint8 [H, W, 3], which is filled.

    Examples:
        >>> image, out = np.zeros((9, 9, 3), np.uint8), np.empty((2, 2, 3), np.uint8)
        >>> image[3:7, 3:7] = 200
        >>> resize_window(image, np.array([3, 3, 4, 4]), out)
        >>> out[..., 0].tolist()
        [[200, 200], [200, 200]]
    """
    import torch  # commands that only look at a store do not wait for it

    top, left, height, width = window.tolist()
    crop = pixels[top : top + height, left : left + width]
    if crop.shape == out.shape:
        out[:] = crop
        return
    # channels last: torch has a fast path for uint8. The operator of functional.interpolate, which cannot write into
    # memory that there is: new memory for each image takes longer than resizing it
    planes, into = (torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0) for image in (crop, out))
    torch.ops.aten._upsample_bilinear2d_aa.out(planes, out.shape[:2], False, None, None, out=into)
