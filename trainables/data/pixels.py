"""Pixels of one image file: opened within bounds, scaled by the range that the file states, and turned upright."""

from __future__ import annotations

import functools
import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError, features

from trainables.data.files import printable_path
from trainables.errors import UserError, shorten

MAX_PX = 2**26
"""Largest number of pixels of one file, 8192 x 8192: below the size at which Pillow warns (89 million)."""

MAX_BYTES = 2**29
"""Largest size of one file in bytes: 8 bytes per pixel of ``MAX_PX``."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read, by Pillow's names. Pillow knows more; some of them start other programs."""

FULL_16_BITS = 65_535
STRIP_PX = 2**20

_STATE_THE_RANGE = "convert it to 8 bits, or state the range in the TIFF tags SMinSampleValue and SMaxSampleValue"
_BITS, _PHOTOMETRIC, _FORMAT, _LOW, _HIGH = 258, 262, 339, 340, 341
"""TIFF tags: bits per sample, whether white is 0, kind of numbers, smallest and largest sample value."""


@contextmanager
def open_image(file: str, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image file without decoding it; ``content``: its bytes, if they were read already.

    Raises:
        UserError: the file cannot be read, now or while the context lasts, or has too many pixels; the message names
            the file and what to do.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "photo.png"
        >>> Image.new("RGB", (20, 12)).save(path)
        >>> with open_image(str(path)) as image:
        ...     image.size
        (20, 12)
    """
    try:
        with Image.open(file if content is None else io.BytesIO(content), formats=_formats()) as image:
            if image.width * image.height > MAX_PX:
                raise _too_large(file, f"{image.width} x {image.height}")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        n_px = re.search(r"\d+", str(error))
        raise _too_large(file, f"{int(n_px[0]):,}" if n_px else "too many") from error
    except Exception as error:  # Pillow raises errors of many kinds for broken files
        reason = _reason(file, error)
        raise UserError(f"cannot read the image {printable_path(file)}: {reason}; repair or remove the file") from error


def read_content(file: str) -> bytes:
    """Return the bytes of an image file.

    Raises:
        UserError: the file cannot be read, or is so large that no image of ``MAX_PX`` pixels fills it.
    """
    try:
        n_bytes = Path(file).stat().st_size
        if n_bytes > MAX_BYTES:
            raise UserError(
                f"the image {printable_path(file)} is too large: it has {n_bytes:,} bytes, at most {MAX_BYTES:,} are "
                "read; reduce or remove it"
            )
        return Path(file).read_bytes()
    except OSError as error:
        reason = _reason(file, error)
        raise UserError(f"cannot read the image {printable_path(file)}: {reason}; repair or remove the file") from error


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings, for example about metadata: what makes an image unusable is raised as an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def upright_size(image: Image.Image, *, upright: bool) -> tuple[int, int]:
    """Return height and width of an image that is open but not decoded; ``upright``: after its EXIF orientation."""
    width, height = image.size
    if image.format == "TIFF":  # newer versions of Pillow have exchanged the sides already
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = tags[256], tags[257]
    return (width, height) if upright and orientation_of(image) >= 5 else (height, width)


def read_pixels(image: Image.Image, file: str) -> tuple[Image.Image, int | None]:
    """Decode an open image to 8 bits per sample.

    Samples of other types are scaled by the range that the file states: the bits per sample or the smallest and largest
    sample value of a TIFF file, the significant bits of a PNG file, the largest value of a PGM file.

    Args:
        image: an image of :func:`open_image`.
        file: its name.

    Returns:
        The image in mode ``L``, ``RGB`` or ``RGBA``, as stored; and its largest sample on a scale of 16 bits if it has
        16 bits per sample of which it does not state how many are used, else None. The scale of colour images is exact
        to 8 bits. A black image has None.

    Raises:
        UserError: the file does not state the range of its samples, or has samples that are no numbers.
    """
    deep = ";16" in _raw_mode(image)  # Pillow forgets it while it decodes
    image.load()
    image.info.pop("transparency", None)  # the colour behind it is kept
    if image.mode[0] in "IF":
        low, high, largest = _sample_range(image, file)
        return _scaled(image, low, high, file), largest or None
    if image.mode in ("1", "L", "LA"):
        eight_bits = image.convert("L")
    elif image.mode in ("RGB", "RGBA"):  # not converted: a copy of a large image takes much memory
        eight_bits = image
    else:
        eight_bits = image.convert("RGB")
    high_byte = _largest_high_byte(eight_bits) if deep else 0
    return eight_bits, high_byte * 256 + 255 if high_byte else None


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none, or the metadata are broken."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises errors of many kinds for broken metadata, which do no harm here
        return 1
    return int(value) if value in range(1, 9) else 1


def turn_upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Return ``pixels``, uint8 [H, W] or [H, W, 3], as a viewer shows them for an EXIF ``orientation`` of 1 to 8.

    Examples:
        >>> turn_upright(np.array([[1, 2], [3, 4]], np.uint8), 6).tolist()
        [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _sample_range(image: Image.Image, file: str) -> tuple[float, float, int | None]:
    """Return the sample values of black and of white, and the largest sample if only the number of bits is stated."""
    if image.format == "TIFF":
        return _tiff_range(image, file)
    if image.mode == "F":
        raise _no_range(file, "float")
    if image.format == "PPM":  # Pillow has scaled the samples by the largest value that the header states
        return 0, FULL_16_BITS, None
    largest = _largest(image)
    n_bits = _significant_bits(file) if image.format == "PNG" else 16
    if n_bits == 16:
        return 0, FULL_16_BITS, largest
    # the PNG specification wants the significant bits at the upper end; some programs leave them at the lower end
    spare = (1 << (16 - n_bits)) - 1
    at_lower_end = largest < 1 << n_bits and any((_samples(strip) & spare).any() for strip in _strips(image))
    return 0, (1 << n_bits) - 1 if at_lower_end else FULL_16_BITS, None


def _tiff_range(image: Image.Image, file: str) -> tuple[float, float, int | None]:
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, kind = _first(tags.get(_BITS, 1)), _first(tags.get(_FORMAT, 1))
    is_unsigned = kind == 1
    low, high = _first(tags.get(_LOW, 0 if is_unsigned else None)), _first(tags.get(_HIGH))
    largest = None
    if high is None and is_unsigned and bits <= 16:
        high = (1 << bits) - 1
        largest = _largest(image) if bits == 16 else None
    if low is None or high is None or not low < high:
        kinds = {1: "unsigned integer", 2: "signed integer", 3: "float"}
        raise _no_range(file, f"{bits}-bit {kinds.get(kind, 'other')}")
    white_is_zero = tags.get(_PHOTOMETRIC) == 0
    return (high, low, largest) if white_is_zero else (low, high, largest)


def _scaled(image: Image.Image, low: float, high: float, file: str) -> Image.Image:
    """Scale samples from ``low`` (black) and ``high`` (white) to 0 and 255; values outside are cut off."""
    pixels = np.empty((image.height, image.width), dtype=np.uint8)
    row = 0
    for strip in _strips(image):
        samples = _samples(strip)
        if not np.isfinite(samples).all():
            raise UserError(f"cannot read the image {printable_path(file)}: it has samples that are NaN or infinite")
        if (low, high) == (0, FULL_16_BITS):
            scaled = samples >> 8
        else:
            scaled = np.rint((samples.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255)
        pixels[row : row + strip.height] = scaled
        row += strip.height
    return Image.fromarray(pixels)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """Yield an image in strips of about a million pixels: large copies of the whole image would take memory."""
    n_rows = max(1, STRIP_PX // image.width)
    for top in range(0, image.height, n_rows):
        yield image.crop((0, top, image.width, min(top + n_rows, image.height)))


def _samples(strip: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(strip)


def _largest(image: Image.Image) -> int:
    return max(int(_samples(strip).max()) for strip in _strips(image))


def _significant_bits(file: str) -> int:
    """Return the significant bits per sample of a grey PNG file of 16 bits: those of its chunk sBIT, if it has one."""
    with Path(file).open("rb") as png:
        png.seek(8)
        while len(header := png.read(8)) == 8:
            n_bytes, name = struct.unpack(">I4s", header)
            if name == b"sBIT":
                return min(16, max(1, png.read(1)[0]))
            if name == b"IDAT":
                break
            png.seek(n_bytes + 4, 1)
    return 16


def _largest_high_byte(image: Image.Image) -> int:
    ranges = np.reshape(image.getextrema(), (-1, 2))
    return int(max(high for (_, high), band in zip(ranges, image.getbands(), strict=True) if band != "A"))


def _raw_mode(image: Image.Image) -> str:
    """Return Pillow's name of the samples in the file, for example ``RGB;16B``."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles else ""


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(file: str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        if not Path(file).stat().st_size:
            return "it is empty"
        lacking = [name for name in ("avif", "jpg_2000", "webp") if not features.check(name)]
        hint = f" (this build of Pillow lacks {', '.join(lacking)})" if lacking else ""
        return f"its content is in none of the formats {', '.join(FORMATS)}{hint}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shorten(text or type(error).__name__, 200)


def _too_large(file: str, n_px: str) -> UserError:
    return UserError(
        f"the image {printable_path(file)} is too large: it has {n_px} pixels, at most {MAX_PX:,} (8192 x 8192) are "
        "read; reduce or remove it"
    )


def _no_range(file: str, kind: str) -> UserError:
    return UserError(
        f"cannot read the image {printable_path(file)}: it has {kind} samples, and it does not state which values are "
        f"black and white; {_STATE_THE_RANGE}"
    )
