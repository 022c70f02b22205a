"""Pasting on the host: the compiled passes, and NumPy without them, give the same bits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.mixing import host
from trainables.mixing.compiled import passes
from trainables.mixing.host import can_paste_planes, paste_pixels, paste_planes

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def batch(seed: int, shape: tuple[int, ...], dtype: str, mask: str) -> Arrays:
    rng = np.random.default_rng(seed)
    count, height_px, width_px, _ = shape
    originals, pasted = (
        rng.integers(256, size=shape, dtype=np.uint8)
        if dtype == "uint8"
        else rng.standard_normal(shape, dtype=np.float32)
        for _ in range(2)
    )
    draws = rng.random((count, 1, height_px, width_px), dtype=np.float32)
    masks = {"hard": draws < 0.4, "soft": draws, "one number": draws[:, :, :1, :1], "rows": draws[..., :1]}
    return originals, pasted, rng.integers(count, size=count), masks[mask]


def expected(originals: np.ndarray, pasted: np.ndarray, index: np.ndarray, mask: np.ndarray) -> np.ndarray:
    chosen, values = pasted[index], mask[:, 0, :, :, None]
    if mask.dtype == bool:
        return np.where(values, chosen, originals)
    mixed = chosen * values + originals * (1 - values)
    return np.rint(mixed).astype(np.uint8) if originals.dtype == np.uint8 else mixed


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(host, "passes", lambda: None)
    elif passes() is None:
        pytest.skip("numba is not installed")
    return str(request.param)


@pytest.mark.parametrize("mask", ["hard", "soft", "one number", "rows"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(5, 4, 6, 3), (1, 3, 3, 1), (3, 8, 2, 4)])
def test_every_bit(way: str, shape: tuple[int, ...], dtype: str, mask: str) -> None:
    given_arrays = batch(0, shape, dtype, mask)
    before = [array.copy() for array in given_arrays]
    out = np.empty_like(given_arrays[0])
    paste_pixels(*given_arrays, out=out)
    np.testing.assert_array_equal(out, expected(*given_arrays), strict=True)
    for array, same in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, same)


@given(seed=st.integers(0, 1000), mask=st.sampled_from(["hard", "soft", "one number"]), channels=st.integers(1, 4))
def test_both_ways_agree(seed: int, mask: str, channels: int) -> None:
    if passes() is None:
        pytest.skip("numba is not installed")
    arrays = batch(seed, (3, 5, 4, channels), "float32", mask)
    compiled, plain = (np.empty_like(arrays[0]) for _ in range(2))
    paste_pixels(*arrays, out=compiled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "passes", lambda: None)
        paste_pixels(*arrays, out=plain)
    np.testing.assert_array_equal(compiled, plain)


@pytest.mark.parametrize("mask", ["hard", "soft", "one number", "rows"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(5, 4, 6, 3), (1, 3, 3, 1), (3, 8, 2, 7)])
def test_channels_apart_in_memory(shape: tuple[int, ...], dtype: str, mask: str) -> None:
    originals, pasted, index, masks = arrays = batch(0, shape, dtype, mask)
    if not can_paste_planes(hard=masks.dtype == bool, floating=dtype == "float32"):
        assert passes() is None or (dtype == "uint8" and masks.dtype != bool)
        return
    planes = [np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) for pixels in (originals, pasted)]
    out = np.empty_like(planes[0])
    paste_planes(*planes, index, masks, out=out)
    np.testing.assert_array_equal(out, expected(*arrays).transpose(0, 3, 1, 2), strict=True)


def test_one_image_may_be_pasted_into_all(way: str) -> None:
    originals, pasted, _, mask = batch(1, (4, 3, 3, 3), "float32", "hard")
    out = np.empty_like(originals)
    paste_pixels(originals, pasted[:1], np.zeros(4, dtype=np.int64), mask, out=out)
    np.testing.assert_array_equal(out, np.where(mask[:, 0, :, :, None], pasted[:1], originals))


def test_numba_is_not_needed() -> None:
    """Without numba the modules can be imported, and there are no compiled passes."""
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "from trainables.mixing import apply, compiled\n"
        "assert compiled.passes() is None"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
