from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.batches import Normalizer, TrainBatches
from trainables.data.config import Data
from trainables.data.epoch_draw import EpochDraw
from trainables.data.prepared import prepare_data
from trainables.data.resident import ResidentImages, hold_images, release_images
from trainables.data.sources.digits import CANVASES_PER_SCAN
from trainables.data.store import open_split, open_train
from trainables.data.windows import windows_of

CPU = torch.device("cpu")
Bytes = npt.NDArray[np.uint8]


def padded_images(count: int = 12, height: int = 6, width: int = 9, pad_px: int = 2) -> Bytes:
    """Noise with a zero border, not writable, as the store hands it out."""
    images = np.random.default_rng(0).integers(1, 256, (count, height, width, 3), dtype=np.uint8)
    padded = np.pad(images, ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0)))
    padded.flags.writeable = False
    return padded


def batches_of(
    padded: Bytes, rows: npt.NDArray[np.int64], *, pad_px: int = 2, flip: bool = True, device: torch.device = CPU
) -> TrainBatches:
    """Batches of 4 whose labels are the rows themselves."""
    labels = np.arange(len(padded))
    return TrainBatches(padded, labels, rows, pad_px=pad_px, batch_size=4, flip=flip, device=device)


def epoch_of(batches: TrainBatches, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rngs = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    return [(batch.images, batch.labels) for batch in batches.epoch(order_rng=next(rngs), augment_rng=next(rngs))]


def crops_that_match(image: Bytes, padded: Bytes, pad_px: int) -> list[tuple[int, int, bool]]:
    """All (top, left, flipped) that give ``image``, by trying each."""
    height, width = image.shape[:2]
    return [
        (top, left, flipped)
        for top in range(2 * pad_px + 1)
        for left in range(2 * pad_px + 1)
        for flipped in (False, True)
        if (padded[top : top + height, left : left + width][:, :: -1 if flipped else 1] == image).all()
    ]


@pytest.mark.parametrize("pad_px", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_each_image_is_a_crop_of_its_own_image(pad_px: int, flip: bool) -> None:
    padded = padded_images(pad_px=pad_px)
    seen = set()
    for seed in range(12):
        for images, labels in epoch_of(batches_of(padded, np.arange(12), pad_px=pad_px, flip=flip), seed):
            assert images.dtype == torch.uint8
            assert images.shape == (4, 6, 9, 3)
            for image, label in zip(images.numpy(), labels.tolist(), strict=True):
                (found,) = crops_that_match(image, padded[label], pad_px)
                seen.add(found)
    flips = {flipped for _, _, flipped in seen}
    assert flips == ({False, True} if flip else {False})
    assert len({(top, left) for top, left, _ in seen}) == (2 * pad_px + 1) ** 2  # every corner comes up


def test_crops_and_flips_are_uniform() -> None:
    padded = padded_images(count=1)
    rows = np.zeros(6000, dtype=np.int64)
    batches = TrainBatches(padded, np.zeros(1, np.int64), rows, pad_px=2, batch_size=6000, flip=True, device=CPU)
    ((images, _),) = epoch_of(batches)
    found = [crops_that_match(image, padded[0], 2)[0] for image in images.numpy()[:1500]]
    tops, lefts, flipped = np.array(found).T
    assert flipped.mean() == pytest.approx(0.5, abs=0.06)  # SD 0.013
    for corners in (tops, lefts):
        np.testing.assert_allclose(np.bincount(corners, minlength=5) / 1500, 0.2, atol=0.05)  # SD 0.01
    assert abs(np.corrcoef([tops, lefts, flipped])[np.triu_indices(3, 1)]).max() < 0.12  # SD 0.026


def test_every_sample_once_an_epoch_in_another_order() -> None:
    rows = np.array([0, 2, 3, 5, 7, 8, 9, 10, 11])
    batches = batches_of(padded_images(), rows)
    assert len(batches) == 3
    order_rng, augment_rng = np.random.default_rng(0), np.random.default_rng(1)
    epochs = [[batch.labels for batch in batches.epoch(order_rng=order_rng, augment_rng=augment_rng)] for _ in range(2)]
    assert [len(labels) for labels in epochs[0]] == [4, 4, 1]  # the odd one is not dropped
    first, second = (torch.cat(labels).tolist() for labels in epochs)
    assert sorted(first) == sorted(second) == rows.tolist()
    assert first != second


def test_the_generators_decide_alone() -> None:
    batches = batches_of(padded_images(), np.arange(12))
    before = torch.get_rng_state()
    first, second, other = epoch_of(batches, 1), epoch_of(batches, 1), epoch_of(batches, 2)
    assert torch.equal(torch.get_rng_state(), before)
    for (images, labels), (images_again, labels_again) in zip(first, second, strict=True):
        assert torch.equal(images, images_again)
        assert torch.equal(labels, labels_again)
    assert not all(torch.equal(one[1], two[1]) for one, two in zip(first, other, strict=True))


def test_augmentation_does_not_touch_the_order() -> None:
    with_flips = epoch_of(batches_of(padded_images(), np.arange(12)))
    without = epoch_of(batches_of(padded_images(pad_px=0), np.arange(12), pad_px=0, flip=False))
    assert [labels.tolist() for _, labels in with_flips] == [labels.tolist() for _, labels in without]


@pytest.mark.parametrize("pad_px", [0, 2])
def test_the_shared_images_are_never_written_to(pad_px: int) -> None:
    padded = padded_images(pad_px=pad_px)
    before = padded.copy()
    for images, labels in epoch_of(batches_of(padded, np.arange(12), pad_px=pad_px)):
        images.zero_()  # what is handed out is the receiver's own
        labels.zero_()
    assert (padded == before).all()
    batches = batches_of(padded, np.arange(12), pad_px=pad_px)
    epoch_of(batches)[0][1].zero_()
    assert sorted(torch.cat([labels for _, labels in epoch_of(batches)]).tolist()) == list(range(12))
    assert not windows_of(padded, pad_px).flags.writeable


class StreamedBatches(TrainBatches):
    """Batches that are made on a CPU as for a GPU without room for the images."""

    def _made(self, draw: EpochDraw, parts: Sequence[EpochDraw]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self._streamed(parts)


def batches_in(place: str, padded: Bytes, rows: npt.NDArray[np.int64], **values: Any) -> TrainBatches:
    """Batches from images in one of the places that a GPU has, with the same memory on both sides."""
    held = {"all resident": None, "resident": np.unique(np.append(rows, 3))}
    if place in held:
        kept = held[place]
        pixels = torch.from_numpy(np.array(padded if kept is None else padded[kept]))
        values["resident"] = ResidentImages(pixels, kept)
    kind = StreamedBatches if place == "streamed" else TrainBatches
    return kind(padded, rows=rows, device=CPU, **values)


PLACES = ("host", "all resident", "resident", "streamed")


@pytest.mark.parametrize("pad_px", [0, 3])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("place", PLACES[1:])
def test_every_place_of_the_images_gives_the_same_batches(pad_px: int, flip: bool, place: str) -> None:
    padded, rows = padded_images(pad_px=pad_px), np.array([11, 1, 2, 9, 4, 5, 6])
    values: dict[str, Any] = {"labels": np.arange(12), "pad_px": pad_px, "batch_size": 4, "flip": flip}
    on_host, on_device = (batches_in(each, padded, rows, **values) for each in ("host", place))
    assert on_device.is_resident == ("resident" in place)
    for seed in range(5):
        for ours, theirs in zip(epoch_of(on_host, seed), epoch_of(on_device, seed), strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])
            assert theirs[1].dtype == torch.int64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("is_resident", [False, True])
def test_a_gpu_gets_the_same_pixels(is_resident: bool) -> None:
    padded, rows, cuda = padded_images(), np.array([11, 1, 2, 9, 4, 5, 6]), torch.device("cuda")
    resident = hold_images(padded, rows, cuda) if is_resident else None
    values: dict[str, Any] = {"labels": np.arange(12), "rows": rows, "pad_px": 2, "batch_size": 4, "flip": True}
    on_device = TrainBatches(padded, device=cuda, resident=resident, **values)
    on_host = epoch_of(TrainBatches(padded, device=CPU, **values))
    for ours, theirs in zip(on_host, epoch_of(on_device), strict=True):
        assert torch.equal(ours[0], theirs[0].cpu())
        assert torch.equal(ours[1], theirs[1].cpu())
    release_images()


def test_the_draws_of_an_epoch_need_no_batches() -> None:
    """A step that gathers on the device by itself sees the images of the loop over batches."""
    batches = batches_in(
        "resident", padded_images(), np.arange(12)[::-1], labels=np.arange(12), pad_px=2, batch_size=5, flip=True
    )
    draw = batches.draw_epoch(order_rng=np.random.default_rng([0, 0]), augment_rng=np.random.default_rng([0, 1]))
    table = [torch.from_numpy(column) for column in (draw.samples, *draw.corners, draw.flipped)]
    images, labels = batches.gather(*table)
    expected = epoch_of(batches)
    assert torch.equal(images, torch.cat([each for each, _ in expected]))
    assert torch.equal(labels, torch.cat([each for _, each in expected]))
    with pytest.raises(ValueError, match="not in the memory"):
        batches_of(padded_images(), np.arange(12)).gather(*table)


# ---------------------------------------------------------------- objects' boxes


def marked(boxes: npt.NDArray[np.int32], height: int, width: int, pad_px: int) -> Bytes:
    """Black images with a border, white in the boxes, each as (y0, x0, y1, x1) in half-open pixels without border."""
    images = np.zeros((len(boxes), height, width, 3), dtype=np.uint8)
    for image, (y0, x0, y1, x1) in zip(images, boxes, strict=True):
        image[y0:y1, x0:x1] = 255
    return np.pad(images, ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0)))


def random_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> npt.NDArray[np.int32]:
    """Boxes of at least one pixel."""
    ends = [np.sort(rng.choice(side + 1, size=2, replace=False)) for side in [height, width] * count]
    return np.array(ends, dtype=np.int32).reshape(count, 2, 2).transpose(0, 2, 1).reshape(count, 4)


def white_box(image: Bytes) -> list[int] | None:
    """Where an image is white; None: nowhere."""
    rows, columns = (np.flatnonzero(image.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1] if len(rows) else None


@settings(max_examples=40)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    pad_px=st.integers(0, 6),
    flip=st.booleans(),
    place=st.sampled_from(PLACES),
    seed=st.integers(0, 2**32),
)
def test_boxes_move_with_their_pixels(height: int, width: int, pad_px: int, flip: bool, place: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 30, height, width)
    padded, rows = marked(boxes, height, width, pad_px), rng.permutation(30)[:23]
    values: dict[str, Any] = {"labels": np.arange(30), "pad_px": pad_px, "batch_size": 8, "flip": flip, "boxes": boxes}
    batches = batches_in(place, padded, rows, **values)
    seen = []
    for batch in batches.epoch(order_rng=rng, augment_rng=rng):
        assert batch.boxes is not None
        assert batch.boxes.dtype == np.int64
        assert batch.boxes.shape == (len(batch.labels), 4)
        for image, (y0, x0, y1, x1) in zip(batch.images.numpy(), batch.boxes.tolist(), strict=True):
            assert 0 <= y0 <= y1 <= height
            assert 0 <= x0 <= x1 <= width
            white = white_box(image)
            assert [y0, x0, y1, x1] == white if white else (y1 - y0) * (x1 - x0) == 0
        seen += batch.labels.tolist()
    assert sorted(seen) == sorted(rows.tolist())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_box_that_was_cut_off_is_empty(axis: int, at_the_end: bool) -> None:
    """A line at the border, as wide as the shift may be."""
    height, width, pad_px = 6, 9, 3
    side = (height, width)[axis]
    box = np.array([0, 0, height, width], dtype=np.int32)
    box[axis], box[axis + 2] = (side - 2, side) if at_the_end else (0, 2)
    boxes = np.tile(box, (400, 1))
    batches = TrainBatches(
        marked(boxes, height, width, pad_px),
        np.zeros(400, np.int64),
        np.arange(400),
        pad_px=pad_px,
        batch_size=400,
        flip=True,
        device=CPU,
        boxes=boxes,
    )
    (batch,) = batches.epoch(order_rng=np.random.default_rng(0), augment_rng=np.random.default_rng(1))
    assert batch.boxes is not None
    extent = batch.boxes[:, axis + 2] - batch.boxes[:, axis]
    assert set(extent.tolist()) == {0, 1, 2}  # gone, half of it, all of it
    blank = ~batch.images.numpy().any(axis=(1, 2, 3))
    np.testing.assert_array_equal(extent == 0, blank)
    assert blank.mean() == pytest.approx(2 / 7, abs=0.1)  # SD 0.02


def test_data_without_boxes_have_none() -> None:
    batches = batches_of(padded_images(), np.arange(12))
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    assert all(batch.boxes is None for batch in batches.epoch(order_rng=rngs[0], augment_rng=rngs[1]))


def test_the_host_has_the_labels_too() -> None:
    batches = batches_of(padded_images(), np.arange(12))
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    for batch in batches.epoch(order_rng=rngs[0], augment_rng=rngs[1]):
        np.testing.assert_array_equal(batch.classes, batch.labels.numpy())


def test_boxes_are_left_as_they_were() -> None:
    boxes = random_boxes(np.random.default_rng(0), 12, 6, 9)
    before = boxes.copy()
    padded = marked(boxes, 6, 9, 2)
    batches = TrainBatches(
        padded, np.arange(12), np.arange(12), pad_px=2, batch_size=4, flip=True, device=CPU, boxes=boxes
    )
    for batch in batches.epoch(order_rng=np.random.default_rng(0), augment_rng=np.random.default_rng(1)):
        assert batch.boxes is not None
        batch.boxes[:] = -1  # what is handed out is the receiver's own
    np.testing.assert_array_equal(boxes, before)
    for batch in batches.epoch(order_rng=np.random.default_rng(0), augment_rng=np.random.default_rng(1)):
        assert batch.boxes is not None
        assert batch.boxes.min() >= 0


# ---------------------------------------------------------------- normalisation


@pytest.mark.parametrize("count", [1, 5])
def test_normalisation_is_the_plain_formula(count: int) -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(0.2, 0.8, 3).astype(np.float32), rng.uniform(0.1, 0.4, 3).astype(np.float32)
    images = torch.from_numpy(rng.integers(0, 256, (count, 7, 11, 3), dtype=np.uint8))
    before = images.clone()
    normal = Normalizer.from_statistics(mean, std, width_px=11, device=CPU)(images)
    plain = (images.numpy().astype(np.float64) / 255 - mean) / std
    np.testing.assert_allclose(normal.numpy(), plain.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)
    assert normal.shape == (count, 3, 7, 11)
    assert normal.dtype == torch.float32
    assert normal.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    images = open_split(Data(), "train")
    normalize = Normalizer.from_statistics(images.mean, images.std, width_px=32, device=CPU)
    normal = normalize(torch.from_numpy(np.array(images.images)))
    assert normal.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-3)
    assert normal.std(dim=(0, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-3)


def test_a_channel_without_contrast_stays_finite() -> None:
    normalize = Normalizer.from_statistics(np.zeros(3, np.float32), np.zeros(3, np.float32), width_px=2, device=CPU)
    assert normalize(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)).isfinite().all()


# ---------------------------------------------------------------- padded images in the store

OPEN_PADDED = """
import hashlib, sys
from pathlib import Path
from trainables.data.config import Data
from trainables.data import padded, store

source, cache, log = sys.argv[1:]
write = padded._write_padded

def logged_write(*args):
    with open(log, "a") as file:
        file.write("padded\\n")
    write(*args)

padded._write_padded = logged_write
images = store.open_train(Data(source=source, pad_px=3), cache_dir=Path(cache))[1]
print(hashlib.sha256(images.tobytes()).hexdigest())
"""


def test_padded_images_equal_numpys(imagefolder_root: Path, tmp_path: Path) -> None:
    data = Data(source=f"imagefolder:{imagefolder_root}", pad_px=3)
    images = open_split(data, "train", cache_dir=tmp_path / "cache").images
    padded = open_train(data, cache_dir=tmp_path / "cache")[1]
    assert padded.dtype == np.uint8
    np.testing.assert_array_equal(padded, np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0))))
    assert isinstance(padded, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        padded[0] = 0
    unpadded = open_train(data.model_copy(update={"pad_px": 0}), cache_dir=tmp_path / "cache")[1]
    np.testing.assert_array_equal(unpadded, images)
    with pytest.raises(ValueError, match="read-only"):
        unpadded[0] = 0


def test_each_border_has_its_own_file(imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(source=f"imagefolder:{imagefolder_root}", pad_px=3)
    for pad_px, side in ((3, 18), (1, 14), (3, 18)):
        padded = open_train(data.model_copy(update={"pad_px": pad_px}), cache_dir=tmp_path)[1]
        assert padded.shape == (10, side, side, 3)
    monkeypatch.setattr("trainables.data.padded._write_padded", lambda *args: pytest.fail("made again"))
    open_train(data, cache_dir=tmp_path)[1]


def test_processes_that_open_at_once_pad_once(imagefolder_root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", OPEN_PADDED, f"imagefolder:{imagefolder_root}", str(tmp_path / "cache"), str(log)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    digests = {process.communicate(timeout=240)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(digests) == 1
    assert log.read_text() == "padded\n"


def test_a_writer_that_was_killed_leaves_nothing_that_is_read(
    imagefolder_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(source=f"imagefolder:{imagefolder_root}", pad_px=2)

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    open_split(data, "train", cache_dir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            open_train(data, cache_dir=tmp_path)[1]
    images = open_split(data, "train", cache_dir=tmp_path).images
    padded = open_train(data, cache_dir=tmp_path)[1]
    np.testing.assert_array_equal(padded, np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))))


# ---------------------------------------------------------------- prepared data


@pytest.mark.parametrize(("train_frac", "split_seed"), [(1.0, 0), (0.3, 0), (0.3, 5)])
def test_canvases_of_one_scan_stay_on_one_side(train_frac: float, split_seed: int) -> None:
    prepared = prepare_data(Data(train_frac=train_frac, split_seed=split_seed))
    scans = [rows // CANVASES_PER_SCAN for rows in (prepared.train_rows, prepared.val_rows)]
    assert not set(scans[0]) & set(scans[1])
    for side in scans:
        assert (np.bincount(side)[np.unique(side)] == CANVASES_PER_SCAN).all()
    used = sum(map(len, scans))
    assert used == pytest.approx(train_frac * len(prepared.images), rel=0.02)
    assert len(scans[1]) == pytest.approx(0.2 * used, rel=0.1)
    assert len(prepared.padded) == len(prepared.images)


def test_prepared_data_is_shared_and_follows_the_source(imagefolder_root: Path) -> None:
    data = Data(train_frac=0.3)
    assert prepare_data(data).padded is prepare_data(Data(train_frac=0.4, batch_size=7)).padded
    assert prepare_data(data).flip is False  # digits are no mirror images
    assert prepare_data(data.model_copy(update={"flip": True})).flip is True
    photographs = prepare_data(Data(source=f"imagefolder:{imagefolder_root}"))
    assert photographs.flip is True
    assert sorted([*photographs.train_rows, *photographs.val_rows]) == list(range(10))
