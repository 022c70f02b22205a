from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from tests.trainables.evaluation.conftest import N_CLASSES, SIDE_PX, planted
from trainables.config import TrialConfig
from trainables.data.image_set import ImageSet
from trainables.errors import UserError
from trainables.evaluation.axes import localization
from trainables.evaluation.axes.localization import Localization, _halves
from trainables.evaluation.base import Measured
from trainables.evaluation.score_maps import best_ious, class_maps, ious, largest_boxes, score_maps
from trainables.evaluation.subject import Subject
from trainables.models.saved import SavedModel
from trainables.networks.modules.staged import StagedNet


def values_of(measured: Measured) -> dict[tuple[str, str], float]:
    return {(value.metric, value.setting): value.value for value in measured.values}


def subject_with_net(subject: Subject, net: StagedNet) -> Subject:
    """Exchange the network inside; images are given to it as they are."""
    model = torch.nn.Sequential(torch.nn.Identity(), net).eval().requires_grad_(False)
    saved = SavedModel(**(vars(subject.saved) | {"model": model, "last": model}))
    other = Subject(saved)
    other.__dict__.update(test=subject.test, data=subject.data)
    return other


def with_boxes(images: ImageSet, boxes: np.ndarray) -> ImageSet:
    return replace(images, boxes=boxes.astype(np.int32))


class BrightColour(StagedNet):
    """A network that sees every pixel on its own: its maps are how far a channel is above the noise."""

    def __init__(self, weight: torch.Tensor, *, pool_px: int = 1) -> None:
        classifier = torch.nn.Linear(3, len(weight), bias=False)
        classifier.weight.data = weight
        pool = torch.nn.AvgPool2d(pool_px)
        super().__init__(stem=torch.nn.Threshold(0.5, 0.0), stages=[pool], classifier=classifier)


# ------------------------------------------------------------------------------------------- maps


def test_cam_is_the_channels_weighted_by_the_classifier(subject: Subject) -> None:
    rows = np.arange(9)
    net = subject.saved.net
    pixels = subject.saved.normalize(subject.pixels(subject.test.images[rows]))
    weights = net.classifier.weight[torch.from_numpy(subject.test.labels[rows])]
    by_hand = torch.einsum("bchw,bc->bhw", net.features(pixels), weights)
    torch.testing.assert_close(class_maps(subject, subject.test, rows, method="cam"), by_hand)


def test_grad_cam_is_its_positive_part_over_the_number_of_places(subject: Subject) -> None:
    rows = np.arange(9)
    cam = class_maps(subject, subject.test, rows, method="cam")
    gradcam = class_maps(subject, subject.test, rows, method="gradcam")
    torch.testing.assert_close(gradcam, cam.clamp_min(0) / cam[0].numel(), rtol=1e-4, atol=1e-6)


def test_nothing_of_the_library_stays_in_the_network(subject: Subject) -> None:
    class_maps(subject, subject.test, np.arange(3), method="gradcam")
    assert not subject.saved.net.stages[-1]._forward_hooks
    assert not any(parameter.requires_grad for parameter in subject.saved.net.parameters())


def test_maps_are_enlarged_bilinearly_and_stretched() -> None:
    maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]])
    scores = score_maps(maps, height_px=4, width_px=4)
    # centres of the enlarged pixels lie at -.25, .25, .75 and 1.25 of the small ones, and are held at the border
    steps = np.array([0, 0.25, 0.75, 1])
    np.testing.assert_allclose(scores[0], (2 * steps[:, None] + steps) / 3, atol=1e-6)
    assert not scores[1].any()


def test_a_map_that_is_the_same_everywhere_finds_nothing() -> None:
    scores = score_maps(torch.full((1, 5, 7), 0.1), height_px=64, width_px=48)
    assert not scores.any()
    assert largest_boxes(scores, threshold=0.0).tolist() == [[0, 0, 0, 0]]


# ------------------------------------------------------------------------------------------ boxes


def flooded(mask: np.ndarray) -> list[tuple[int, list[int]]]:
    """Number of pixels and box of each region, by a flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, border = set(), [min(left)]
        left.discard(border[0])
        while border:
            y, x = border.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            border.extend(near)
        ys, xs = zip(*region, strict=True)
        regions.append((len(region), [min(ys), min(xs), max(ys) + 1, max(xs) + 1]))
    return regions


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.3, 0.6, 0.8]))
@settings(max_examples=40, deadline=None)
def test_boxes_are_those_of_a_flood_fill(seed: int, count: int, threshold: float) -> None:
    from torchvision.ops import box_iou

    rng = np.random.default_rng(seed)
    scores = rng.random((count, 7, 9), dtype=np.float32)
    corners = np.sort(rng.integers(0, 8, (count, 2, 2)), axis=1)
    boxes = corners.reshape(count, 4) + np.array([0, 0, 1, 1])
    largest = largest_boxes(scores, threshold=threshold)
    best = best_ious(scores, boxes, thresholds=np.array([0.1, threshold]))
    for index in range(count):
        regions = flooded(scores[index] > threshold)
        most_px = max((size for size, _ in regions), default=0)
        assert largest[index].tolist() in ([box for size, box in regions if size == most_px] or [[0, 0, 0, 0]])
        found = torch.tensor([box for _, box in regions] or [[0, 0, 0, 0]]).float()
        iou = box_iou(found[:, [1, 0, 3, 2]], torch.from_numpy(boxes[index : index + 1, [1, 0, 3, 2]]).float())
        assert best[index, 1] == pytest.approx(float(iou.max()))


def test_of_equal_regions_the_higher_one_counts() -> None:
    scores = np.zeros((2, 5, 6), dtype=np.float32)
    scores[0, [0, 4], [5, 0]] = 1
    scores[1, 2:4, 1] = scores[1, 0, 3:6] = 1  # two pixels, three pixels
    assert largest_boxes(scores, threshold=0.5).tolist() == [[0, 5, 1, 6], [0, 3, 1, 6]]


def test_corners_join_regions_and_images_do_not() -> None:
    scores = np.zeros((3, 2, 2), dtype=np.float32)
    scores[0] = scores[1] = np.eye(2)
    scores[2, 0, 1] = 1
    assert largest_boxes(scores, threshold=0.5).tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [0, 1, 1, 2]]


@pytest.mark.parametrize(
    ("found", "iou"),
    [([0, 0, 4, 4], 1.0), ([0, 2, 4, 6], 1 / 3), ([4, 0, 8, 4], 0.0), ([0, 0, 0, 0], 0.0), ([1, 1, 3, 3], 0.25)],
)
def test_iou_by_hand(found: list[int], iou: float) -> None:
    assert ious(np.array([found]), np.array([[0, 0, 4, 4]])).tolist() == [iou]


def test_empty_boxes_fit_nothing() -> None:
    empty = np.array([[3, 3, 3, 3]])
    assert ious(empty, empty).tolist() == [0.0]


# ---------------------------------------------------------------------------------------- the axis


def test_a_network_that_sees_the_object_itself_is_perfect(subject: Subject) -> None:
    values = values_of(Localization().measure(subject_with_net(subject, BrightColour(torch.eye(3)))))
    assert values["top1_error", ""] == 0
    assert values["top1_loc_error", "cam threshold=0.15"] == 0
    assert values["mean_iou", "cam threshold=0.15"] == 1
    assert values["box_acc_v2", "cam"] == values["max_box_acc_v2", "cam"] == 1
    assert values["best_threshold", "cam iou=0.7"] == 0
    # the object is a quarter of the image
    assert values["gt_known_loc", "whole image"] == values["box_acc_v2", "whole image"] == 0
    assert values["left_out", ""] == 0


def test_the_right_box_of_a_wrong_class_counts_for_one_of_both(subject: Subject) -> None:
    # classes are told by minus their colour, which is never the largest; maps of the true class are then negative at
    # the object, so that what is found is around it
    wrong = values_of(Localization().measure(subject_with_net(subject, BrightColour(-torch.eye(3)))))
    assert wrong["top1_error", ""] == 1
    assert wrong["top1_loc_error", "cam threshold=0.15"] == 1
    assert wrong["gt_known_loc", "cam threshold=0.15"] == 0
    # every class looks at all colours, the first one a little more: right boxes, one class in three
    first = torch.ones(3, 3)
    first[0] += 0.01
    constant = values_of(Localization().measure(subject_with_net(subject, BrightColour(first))))
    assert constant["gt_known_loc", "cam threshold=0.15"] == 1
    assert constant["top1_loc_error", "cam threshold=0.15"] == constant["top1_error", ""] == pytest.approx(2 / 3)


def test_a_blind_network_finds_nothing(subject: Subject) -> None:
    values = values_of(Localization().measure(subject_with_net(subject, BrightColour(torch.zeros(3, 3)))))
    assert values["gt_known_loc", "cam threshold=0.15"] == values["mean_iou", "cam threshold=0.15"] == 0
    assert values["box_acc_v2", "cam"] == values["max_box_acc_v2", "cam"] == 0


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_all_numbers_by_hand(subject: Subject, method: str) -> None:
    axis = Localization(n_images=41, threshold=0.4, n_thresholds=10, method=method)  # type: ignore[arg-type]
    measured = axis.measure(subject)
    images, rows = subject.test, subject.sample(41, seed=0)
    assert images.boxes is not None
    net = subject.saved.net
    maps = net.features(subject.saved.normalize(subject.pixels(images.images[rows])))
    maps = torch.einsum("bchw,bc->bhw", maps, net.classifier.weight[torch.from_numpy(images.labels[rows])])
    if method == "gradcam":
        maps = maps.clamp_min(0)
    large = functional.interpolate(maps[None], (SIDE_PX, SIDE_PX), mode="bilinear")[0].numpy()
    right = (subject.logits(images, rows).argmax(dim=1).numpy() == images.labels[rows]).tolist()
    fits, best = [], []
    for map_, box in zip(large, images.boxes[rows].tolist(), strict=True):
        score = (map_ - map_.min()) / (map_.max() - map_.min())
        fits.append(hand_iou(max(flooded(score > 0.4))[1], box))
        best.append([max(hand_iou(found, box) for _, found in flooded(score > step / 10)) for step in range(10)])
    values = values_of(measured)
    setting = f"{method} threshold=0.4"
    assert values["mean_iou", setting] == pytest.approx(np.mean(fits))
    assert values["gt_known_loc", setting] == pytest.approx(np.mean([fit >= 0.5 for fit in fits]))
    both = [is_right and fit >= 0.5 for is_right, fit in zip(right, fits, strict=True)]
    assert values["top1_loc_error", setting] == pytest.approx(1 - np.mean(both))
    assert values["top1_error", ""] == pytest.approx(1 - np.mean(right))
    chosen, reported = _halves(images.labels[rows], seed=0)
    accuracies, maxima = [], []
    for min_iou in (0.3, 0.5, 0.7):
        hits = np.array([[fit >= min_iou for fit in fits_of_one] for fits_of_one in best])
        step = int(np.argmax(hits[chosen].sum(axis=0)))
        assert values["best_threshold", f"{method} iou={min_iou}"] == step / 10
        accuracies.append(hits[reported, step].mean())
        assert values["box_acc", f"{method} iou={min_iou}"] == pytest.approx(accuracies[-1])
        maxima.append(hits.mean(axis=0).max())
    assert values["box_acc_v2", method] == pytest.approx(np.mean(accuracies))
    assert values["max_box_acc_v2", method] == pytest.approx(np.mean(maxima))
    counts = {(value.metric, value.setting): value.n for value in measured.values}
    assert counts["top1_loc_error", setting] == counts["max_box_acc_v2", method] == 41
    assert (counts["box_acc_v2", method], counts["best_threshold", f"{method} iou=0.5"]) == (21, 20)


def max_box_acc_v2(maps: np.ndarray, boxes: np.ndarray, *, as_published: bool) -> float:
    """MaxBoxAccV2 by contours, with 50 thresholds, as Choe et al. (CVPR 2020) define it, or as they compute it.

    Their code adds four steps: cubic enlarging, maps in 8 bits, boxes around holes, and boxes one pixel longer.
    """
    cv2 = pytest.importorskip("cv2")
    interpolation = cv2.INTER_CUBIC if as_published else cv2.INTER_LINEAR
    longer_px = int(as_published)
    hits = np.zeros((3, 50))
    for small, (top, left, bottom, right) in zip(maps, boxes.tolist(), strict=True):
        large = cv2.resize(small, (SIDE_PX, SIDE_PX), interpolation=interpolation)
        large = (large - large.min()) / (large.max() - large.min())
        levels = (large * 255).astype(np.uint8) if as_published else large
        for step in range(50):
            above = levels > (int(step / 50 * levels.max()) if as_published else step / 50)
            mode = cv2.RETR_TREE if as_published else cv2.RETR_EXTERNAL
            contours, _ = cv2.findContours(above.astype(np.uint8), mode, cv2.CHAIN_APPROX_SIMPLE)
            best = 0.0
            for x, y, width, height in map(cv2.boundingRect, contours):
                found_bottom, found_right = (
                    min(end, SIDE_PX - longer_px) + longer_px for end in (y + height, x + width)
                )
                both = max(0, min(found_bottom, bottom + longer_px) - max(y, top))
                both *= max(0, min(found_right, right + longer_px) - max(x, left))
                area = (bottom + longer_px - top) * (right + longer_px - left)
                best = max(best, both / ((found_bottom - y) * (found_right - x) + area - both))
            hits[:, step] += best >= np.array([0.3, 0.5, 0.7])
    return float(hits.max(axis=1).mean() / len(maps))


def test_max_box_acc_v2_is_that_of_contours(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the authors' evaluator, which makes boxes longer, gives more: the difference that the axis documents."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, SIDE_PX - 3, (60, 2, 2)), axis=1)
    boxes = corners.reshape(60, 4) + np.array([0, 0, 4, 4])
    maps = rng.random((60, 5, 5), dtype=np.float32)
    centres = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 / SIDE_PX * 4).astype(int)
    maps[np.arange(60), centres[:, 0], centres[:, 1]] += 1  # maps that know something of the object
    subject.__dict__["test"] = with_boxes(subject.test, boxes)
    rows = subject.sample(60, seed=0)
    monkeypatch.setattr(localization, "class_maps", lambda *_, **__: torch.from_numpy(maps[rows]))
    ours = values_of(Localization(n_thresholds=50).measure(subject))["max_box_acc_v2", "cam"]
    assert ours == pytest.approx(max_box_acc_v2(maps, boxes, as_published=False), abs=1e-12)
    assert 0.3 < ours < max_box_acc_v2(maps, boxes, as_published=True) - 0.03


def hand_iou(found: list[int], box: list[int]) -> float:
    pixels = [{(y, x) for y in range(y0, y1) for x in range(x0, x1)} for y0, x0, y1, x1 in (found, box)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def test_the_class_is_asked_of_the_model(answering: Callable[..., Subject]) -> None:
    test = planted(30, seed=5)
    never = answering(lambda pixels: torch.eye(N_CLASSES)[[0] * len(pixels)], test=test)
    values = values_of(Localization().measure(never))
    assert values["top1_error", ""] == pytest.approx(2 / 3)
    assert values["top1_loc_error", "cam threshold=0.15"] >= 2 / 3


def test_few_images_at_a_time_give_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = Localization().measure(subject)
    monkeypatch.setattr(localization, "PIXELS_AT_ONCE", 7 * SIDE_PX**2 + 1)
    assert Localization().measure(subject) == at_once


def test_what_the_whole_image_would_earn(subject: Subject) -> None:
    assert subject.test.boxes is not None
    boxes = np.tile([0, 0, SIDE_PX, 5], (60, 1))  # less than a third
    boxes[:30, 3] = SIDE_PX // 2
    boxes[:6, 3] = SIDE_PX - 1
    subject.__dict__["test"] = with_boxes(subject.test, boxes)
    values = values_of(Localization().measure(subject))
    assert values["gt_known_loc", "whole image"] == pytest.approx(30 / 60)
    assert values["box_acc_v2", "whole image"] == pytest.approx((60 + 30 + 6) / 180)


def test_images_without_a_box_are_left_out_and_counted(subject: Subject) -> None:
    whole = subject.test
    assert whole.boxes is not None
    boxes = whole.boxes.copy()
    boxes[::4] = 0
    boxes[1, 2] = boxes[1, 0]  # no rows, but columns
    subject.__dict__["test"] = with_boxes(whole, boxes)
    values = Localization().measure(subject).values
    assert {value.n for value in values if value.metric == "mean_iou"} == {44}
    assert [(value.value, value.n) for value in values if value.metric == "left_out"] == [(16, 60)]
    boxes[:-1] = 0
    subject.__dict__["test"] = with_boxes(whole, boxes)
    with pytest.raises(ValueError, match="needs two images with a box, but 1 of 60 drawn images have one"):
        Localization().measure(subject)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_halves_hold_as_many_of_each_class(labels: list[int], seed: int) -> None:
    array = np.array(labels)
    chosen, reported = _halves(array, seed=seed)
    assert sorted([*chosen, *reported]) == list(range(len(labels)))
    assert len(reported) - len(chosen) in (0, 1)
    counts = [np.bincount(array[half], minlength=6) for half in (chosen, reported)]
    assert abs(counts[0] - counts[1]).max() <= 1


def test_the_threshold_is_not_chosen_where_it_is_reported(subject: Subject) -> None:
    """Boxes that the reported half alone is given wrongly change its accuracy, not the threshold."""
    axis, test = Localization(), subject.test
    assert test.boxes is not None
    _, reported = _halves(test.labels, seed=0)
    before = values_of(axis.measure(subject))
    boxes = test.boxes.copy()
    boxes[reported] = [0, 0, 1, 1]
    subject.__dict__["test"] = with_boxes(test, boxes)
    after = values_of(axis.measure(subject))
    for min_iou in ("0.3", "0.5", "0.7"):
        assert after["best_threshold", f"cam iou={min_iou}"] == before["best_threshold", f"cam iou={min_iou}"]
    assert after["box_acc_v2", "cam"] == 0 < before["box_acc_v2", "cam"]


def test_two_calls_return_the_same_and_leave_global_randomness_alone(subject: Subject) -> None:
    torch_state = torch.random.get_rng_state()
    first, second = Localization(n_images=20).measure(subject), Localization(n_images=20).measure(subject)
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@pytest.mark.parametrize("size", [(16, 16), (12, 24), (24, 12)])
def test_the_strip_is_a_picture_of_any_shape(subject: Subject, size: tuple[int, int]) -> None:
    test = subject.test
    height_px, width_px = size
    images = np.resize(test.images, (len(test), height_px, width_px, 3))
    boxes = np.tile([1, 2, height_px - 3, width_px - 1], (len(test), 1))
    subject.__dict__["test"] = with_boxes(replace(test, images=images, boxes=None), boxes)
    measured = Localization(n_images=10).measure(subject)
    with Image.open(io.BytesIO(measured.pictures["cam"])) as picture:
        assert picture.format == "PNG"
        assert picture.width > 8 * 100
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_data_without_boxes_is_refused(subject: Subject) -> None:
    about = replace(subject.about, config=TrialConfig.model_validate({"data": {"source": "cifar10"}}), has_boxes=False)
    with pytest.raises(UserError, match=r"'localization' needs .* 'cifar10' has none; .*: digits, cub, imagenet, tiny"):
        Localization().check(about)
    Localization().check(subject.about)


@pytest.mark.parametrize("wrong", [{"threshold": 1.0}, {"n_thresholds": 0}, {"method": "score"}, {"n_images": 0}])
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Localization.model_validate(wrong)
