from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tests.trainables.data.mini_imagenet import photograph, write_mini_imagenet
from trainables.augment.config import Augment
from trainables.config import TrialConfig
from trainables.data.batches import TrainBatches
from trainables.data.config import Data
from trainables.data.decoding import PixelBudget
from trainables.data.image_set import ImageSet
from trainables.data.jpeg_batches import JpegBatches
from trainables.data.jpegs.codec import decode_jpeg
from trainables.data.jpegs.images import JpegImages
from trainables.data.jpegs.writing import StoredJpeg, stored_jpeg
from trainables.data.prepared import TrialData
from trainables.data.store import open_split
from trainables.errors import DataWarning, UserError
from trainables.share import Share
from trainables.trial import Trial

CPU = torch.device("cpu")
SIZE_PX = 32


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_mini_imagenet(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def opened(source: str, cache: Path, split: Any = "train", **fields: Any) -> ImageSet:
    data = Data.model_validate({"source": source, "image_size_px": SIZE_PX, "store": "jpeg", **fields})
    return open_split(data, split, cache_dir=cache)


def jpegs(images: ImageSet) -> JpegImages:
    assert isinstance(images.images, JpegImages)
    return images.images


def store_one(image: Image.Image, path: Path, *, stored_px: int = 64, **options: Any) -> StoredJpeg:
    image.save(path, **options)
    return stored_jpeg(str(path), stored_px, PixelBudget(), upright=True)


@pytest.fixture
def photo() -> Image.Image:
    return photograph(np.random.default_rng(3), 48, 60)


def difference(one: Any, two: Any) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(two)).mean())


def test_a_small_jpeg_in_colours_is_copied_byte_for_byte(photo: Image.Image, tmp_path: Path) -> None:
    for options in ({}, {"progressive": True}, {"quality": 40, "subsampling": 0}):
        stored = store_one(photo, tmp_path / "photo.jpg", **options)
        assert stored.content == (tmp_path / "photo.jpg").read_bytes()
        assert stored.size_px == stored.original_px == (48, 60)


@pytest.mark.parametrize(("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("RGB", "png"), ("RGBA", "png")])
def test_other_files_are_encoded_with_the_colours_that_are_decoded_otherwise(
    photo: Image.Image, tmp_path: Path, mode: str, suffix: str
) -> None:
    stored = store_one(photo.convert(mode), tmp_path / f"photo.{suffix}")
    pixels = decode_jpeg(stored.content)
    assert pixels.shape == (48, 60, 3)
    assert difference(pixels, photo.convert(mode).convert("RGB")) < 4


def test_a_large_image_is_resized_as_a_whole(photo: Image.Image, tmp_path: Path) -> None:
    stored = store_one(photo.resize((600, 480)), tmp_path / "photo.jpg", stored_px=48, quality=95)
    assert (stored.size_px, stored.original_px) == ((48, 60), (480, 600))
    assert difference(decode_jpeg(stored.content), photo) < 4


def test_a_photograph_of_a_camera_is_stored_upright(photo: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    stored = store_one(photo, tmp_path / "photo.jpg", exif=exif, quality=95)
    assert stored.size_px == (60, 48)
    assert difference(decode_jpeg(stored.content), np.rot90(np.asarray(photo), -1)) < 4


def test_a_file_that_only_pillow_can_read_is_encoded_again(photo: Image.Image, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    content = buffer.getvalue()
    (tmp_path / "photo.jpg").write_bytes(content[:-2] + b"\0\0\0\0" + content[-2:])  # bytes that belong to nothing
    stored = stored_jpeg(str(tmp_path / "photo.jpg"), 64, PixelBudget())
    assert difference(decode_jpeg(stored.content), photo) < 6


def test_the_decoder_gives_the_pixels_of_pillow(source: str, cache: Path) -> None:
    images = jpegs(opened(source, cache))
    for row in range(len(images)):
        np.testing.assert_array_equal(images.pixels(row), Image.open(io.BytesIO(images.jpeg(row).tobytes())))


def test_windows_are_cropped_and_resized_as_by_pillow(source: str, cache: Path) -> None:
    images = jpegs(opened(source, cache))
    rows, windows = np.array([3, 0, 5, 3]), np.array([[0, 0, 40, 44], [5, 9, 12, 20], [7, 3, 32, 32], [1, 2, 33, 8]])
    crops = np.empty((4, SIZE_PX, SIZE_PX, 3), np.uint8)
    images.read_windows(rows, windows, crops, n_threads=1)
    for crop, row, (top, left, height, width) in zip(crops, rows, windows.tolist(), strict=True):
        whole = Image.open(io.BytesIO(images.jpeg(row).tobytes()))
        cut = whole.crop((left, top, left + width, top + height))
        expected = np.asarray(cut.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(crop - expected).max() <= 1
    again = np.empty_like(crops)
    images.read_windows(rows, windows, again, n_threads=3)
    np.testing.assert_array_equal(again, crops)


@pytest.mark.parametrize("center_crop_frac", [1.0, 0.875])
def test_copied_jpegs_give_the_images_that_are_stored_as_pixels(
    source: str, cache: Path, center_crop_frac: float
) -> None:
    splits: tuple[Any, Any] = ("train", "test")
    for split in splits:
        images = opened(source, cache, split, center_crop_frac=center_crop_frac)
        pixels = opened(source, cache, split, center_crop_frac=center_crop_frac, store="pixels")
        assert images.images.shape == pixels.images.shape
        np.testing.assert_array_equal(images.images[:], pixels.images)
        np.testing.assert_array_equal(images.images[2], pixels.images[2])
        np.testing.assert_array_equal(images.images[np.array([2, 0])], pixels.images[np.array([2, 0])])
        for name in ("labels", "boxes"):
            np.testing.assert_array_equal(getattr(images, name), getattr(pixels, name))
        assert images.classes == pixels.classes


def test_boxes_do_not_depend_on_the_stored_size(source: str, cache: Path) -> None:
    large, small = opened(source, cache, "test"), opened(source, cache, "test", stored_px=32)
    assert jpegs(small).sizes_px.min() == 32 < jpegs(large).sizes_px.min()
    np.testing.assert_array_equal(small.boxes, large.boxes)
    factor = jpegs(small).sizes_px / jpegs(large).sizes_px
    scaled = np.asarray(jpegs(large).boxes) * np.tile(factor, 2)
    assert np.abs(np.asarray(jpegs(small).boxes) - scaled).max() <= 1  # rounded outwards


def test_the_centre_crop_is_that_of_the_usual_evaluation(source: str, cache: Path) -> None:
    images = opened(source, cache, "test", center_crop_frac=0.875, image_size_px=56)
    usual = v2.Compose([v2.Resize(64), v2.CenterCrop(56)])
    for row in range(len(images)):
        assert difference(images.images[row], usual(Image.fromarray(jpegs(images).pixels(row)))) < 2.5


def test_statistics_are_of_all_stored_pixels(source: str, cache: Path) -> None:
    train, test = opened(source, cache), opened(source, cache, "test")
    pixels = np.concatenate([jpegs(train).pixels(row).reshape(-1, 3) for row in range(len(train))]) / 255
    for images in (train, test):
        np.testing.assert_allclose(images.mean, pixels.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(images.std, pixels.std(axis=0), rtol=1e-6)


def test_a_damaged_store_is_written_again(source: str, tmp_path: Path) -> None:
    before = opened(source, tmp_path).images[:]
    (file,) = tmp_path.glob("*-train-*/images.jpegs")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.warns(DataWarning, match="were damaged"):
        np.testing.assert_array_equal(opened(source, tmp_path).images[:], before)


def test_files_that_cannot_be_read_are_named(source: str, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(source.partition(":")[2], root)
    broken = root / "train/n01/n01_2.JPEG"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UserError, match=r"n01_2\.JPEG"):
        opened(f"imagenet:{root}", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*partial*"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"store": "jpeg"}, "store 'jpeg' needs one file per image, which source 'digits' does not have: use cub"),
        ({"center_crop_frac": 0.875}, "center_crop_frac needs one file per image"),
        ({"stored_px": 256}, "stored_px has no effect with store 'pixels'"),
        ({"source": "imagenet:x", "store": "jpeg", "stored_px": 64, "image_size_px": 224}, "must not be smaller"),
        ({"source": "imagenet:x", "store": "jpeg", "image_size_px": 384}, "stored_px is 320, but image_size_px is 384"),
    ],
)
def test_what_has_no_effect_or_no_files_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Data.model_validate(fields)


def test_images_of_one_size_are_not_enlarged_from_smaller_jpegs(tmp_path: Path, photo: Image.Image) -> None:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        photo.save(tmp_path / "photos" / name / "1.jpg")
    source = f"imagefolder:{tmp_path / 'photos'}"
    with pytest.raises(UserError, match=r"have 48 x 60 px, but their JPEGs are stored with at most 40 px: set"):
        opened(source, tmp_path / "cache", image_size_px=None, stored_px=40)
    assert opened(source, tmp_path / "cache", image_size_px=None, stored_px=48).images.shape == (2, 48, 60, 3)
    assert opened(source, tmp_path / "cache", image_size_px=40, stored_px=40).images.shape == (2, 40, 40, 3)


def test_the_fields_are_left_out_of_recorded_configurations() -> None:
    assert not {"store", "stored_px", "center_crop_frac"} & Data(source="imagenet:x").model_dump().keys()
    data = Data(source="imagenet:x", store="jpeg", stored_px=256, center_crop_frac=0.875)
    assert Data.model_validate_json(data.model_dump_json()) == data


def batches_of(images: ImageSet, kind: Any = JpegBatches, **options: Any) -> Any:
    rows = np.array([4, 0, 9, 7, 2, 11, 5])
    padded = images.images
    if kind is TrainBatches:
        padded = np.pad(images.images[:], [(0, 0), (3, 3), (3, 3), (0, 0)])
    common = {"pad_px": 3, "batch_size": 4, "flip": True, "device": CPU, "boxes": images.boxes}
    return kind(padded, images.labels, rows, **common | options)


def epoch_of(batches: Any) -> list[Any]:
    return list(batches.epoch(order_rng=np.random.default_rng(1), augment_rng=np.random.default_rng(2)))


def test_batches_without_windows_are_those_of_stored_pixels(source: str, cache: Path) -> None:
    images = opened(source, cache)
    for mine, theirs in zip(epoch_of(batches_of(images)), epoch_of(batches_of(images, TrainBatches)), strict=True):
        for name in ("images", "labels"):
            torch.testing.assert_close(getattr(mine, name), getattr(theirs, name), rtol=0, atol=0)
        np.testing.assert_array_equal(mine.boxes, theirs.boxes)


def test_batches_with_windows_cut_image_and_box_alike(source: str, cache: Path) -> None:
    images = opened(source, cache)
    marked = jpegs(images)
    batches = batches_of(images, augment=Augment.model_validate({"resized_crop": {"area_frac": [0.2, 1.0]}}))
    draw = batches.draw_epoch(order_rng=np.random.default_rng(1), augment_rng=np.random.default_rng(2))
    assert (draw.windows[:, :2] + draw.windows[:, 2:] <= marked.sizes_px[batches._rows[draw.samples]]).all()
    for batch, part in zip(epoch_of(batches), draw.batches(4), strict=True):
        assert batch.changes == {}
        rows = batches._rows[part.samples]
        expected = np.empty((len(rows), SIZE_PX, SIZE_PX, 3), np.uint8)
        marked.read_windows(rows, part.windows, expected, n_threads=1)
        expected[part.flipped] = expected[part.flipped][:, :, ::-1]
        np.testing.assert_array_equal(batch.images, expected)
        assert marked.boxes is not None
        for box, flipped, window, stored in zip(
            batch.boxes, part.flipped, part.windows, marked.boxes[rows], strict=True
        ):
            low = (np.maximum(stored[:2], window[:2]) - window[:2]) * SIZE_PX / window[2:]
            high = (np.minimum(stored[2:], window[:2] + window[2:]) - window[:2]) * SIZE_PX / window[2:]
            if (high <= low).any():
                assert (box[:2] >= box[2:]).any()
                continue
            if flipped:
                low[1], high[1] = SIZE_PX - high[1], SIZE_PX - low[1]
            assert np.abs(box - np.concatenate([low, high])).max() <= 1  # rounded outwards


def test_batches_for_another_device_are_decoded_ahead(
    source: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    read = JpegImages.read
    monkeypatch.setattr(
        JpegImages, "read", lambda self, rows, *args, **kw: decoded.append(len(rows)) or read(self, rows, *args, **kw)
    )
    batches = batches_of(opened(source, cache), device=torch.device("meta"), batch_size=1)
    epoch = batches.epoch(order_rng=np.random.default_rng(1), augment_rng=np.random.default_rng(2))
    first = next(epoch)
    assert (first.images.device.type, list(first.images.shape)) == ("meta", [1, SIZE_PX, SIZE_PX, 3])
    rest = list(epoch)
    assert (len(rest), len(decoded)) == (6, 7)


class _Sent:
    """Stands for two workers: hands out the rows of both."""

    def __init__(self, rank: int) -> None:
        self.rank, self.decoded = rank, 0

    def share(self, n_batch: int) -> Share:
        return Share.of(n_batch, rank=self.rank, n_workers=2)

    def whole(self, images: torch.Tensor, share: Share) -> torch.Tensor:
        self.decoded += len(images)
        return images


def test_workers_decode_their_shares_of_a_batch(source: str, cache: Path) -> None:
    images, sent = opened(source, cache), [_Sent(0), _Sent(1)]
    shares = []
    for exchange in sent:
        batches = batches_of(images, flip=False)
        batches.exchange = exchange
        shares.append([batch.images for batch in epoch_of(batches)])
    whole = [batch.images for batch in epoch_of(batches_of(images, flip=False))]
    for both, expected in zip(zip(*shares, strict=True), whole, strict=True):
        torch.testing.assert_close(torch.cat(both), expected, rtol=0, atol=0)
    assert [exchange.decoded for exchange in sent] == [3, 4]


def test_a_resumed_trial_equals_the_uninterrupted_one(source: str, cache: Path) -> None:
    config = TrialConfig.model_validate(
        {
            "data": {"source": source, "image_size_px": SIZE_PX, "store": "jpeg", "batch_size": 4},
            "augment": {"resized_crop": {}},
            "model": {"width": 0.25, "precision": "fp32"},
            "mix": "cutmix",
            "optimizer": {"max_epochs": 2},
        }
    )
    images = opened(source, cache)
    rows = np.arange(len(images))
    data = TrialData(images, images.images, rows[:9], rows[9:], flip=True)
    whole, first = Trial(config, data), Trial(config, data)
    assert "decoded from JPEGs" in whole.image_place
    for _ in range(2):
        whole.run_epoch()
    first.run_epoch()
    resumed = Trial(config, data)
    resumed.load_state_dict(first.state_dict())
    resumed.run_epoch()
    for name, value in whole.weights().items():
        torch.testing.assert_close(resumed.weights()[name], value, rtol=0, atol=0)
