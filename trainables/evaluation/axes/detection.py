"""Transfer of the backbone to object detection: SSD and Faster R-CNN, fine-tuned and from scratch."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from trainables.errors import UserError, did_you_mean
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.detection.backbone_maps import levels_of
from trainables.evaluation.detection.box_images import BoxImages, SceneImages
from trainables.evaluation.detection.detectors import pyramid_levels
from trainables.evaluation.detection.picture import Row, boxes_png
from trainables.evaluation.detection.runs import METRICS, Backbone, Run, Start, Task, own_statistics, run
from trainables.evaluation.detection.training import Diverged, Recipe
from trainables.evaluation.detection.voc import VocImages, check_voc, voc_name
from trainables.evaluation.over_seeds import over_seeds, training_seeds
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.models.build import build_model
from trainables.models.saved import Normalize
from trainables.precision import set_up_gpu
from trainables.seeds import generator

Name = Literal["ssd", "faster_rcnn"]

SCENES, VOC = "scenes", "voc"

RECIPES = {
    (SCENES, "ssd"): Recipe(steps=300, batch_size=16, lr=0.03, decay_at=(2 / 3, 5 / 6)),
    (SCENES, "faster_rcnn"): Recipe(steps=150, batch_size=16, lr=0.03, decay_at=(2 / 3, 5 / 6)),
    # Yun et al. (ICCV 2019), appendix C
    (VOC, "ssd"): Recipe(steps=120_000, batch_size=32, lr=0.001, decay_at=(2 / 3, 5 / 6)),
    (VOC, "faster_rcnn"): Recipe(steps=120_000, batch_size=8, lr=0.01, decay_at=(5 / 6,)),
}
"""Trainings by images and detector."""

SIDES_PX = {(SCENES, "ssd"): 96, (SCENES, "faster_rcnn"): 96, (VOC, "ssd"): 300, (VOC, "faster_rcnn"): 600}
"""Sides of the images in a detector; for Faster R-CNN the shorter one."""

N_SCENES = {"train": 600, "test": 200}
N_PICTURED = 5
SHOWN = ("scenes", "voc07+12", "voc07")


class Detection(Axis):
    """Mean average precision of detectors whose backbone is the trained network.

    Yun et al. (ICCV 2019, section 4.3, table 10) fine-tune SSD and Faster R-CNN on Pascal VOC from networks trained on
    ImageNet. Conditions, with DATA as the name of the images:

    - ``ssd, DATA`` and ``faster_rcnn, DATA``: all weights are trained, starting from the model, with new layers of the
      detector.
    - ``ssd, DATA, from scratch`` and ``faster_rcnn, DATA, from scratch``: the same network, images, order and new
      layers, starting from random weights. Models with equal networks have equal values.

    Metrics of each condition; n: test images. Classes without an object are left out of a mean:

    - ``map_50``: mean average precision at an IoU of 0.5, and ``map``: its mean over the IoUs 0.5 to 0.95, both as for
      COCO (101 recalls; difficult objects are crowds), by torchmetrics.
    - ``voc07_map``: that of VOC 2007 (11 recalls, IoU 0.5; difficult objects do not count): the metric of the paper.
    - ``map_50_gain`` of a fine-tuned detector: its ``map_50`` minus that from scratch with the same seed.

    Each is the mean over ``seeds`` trainings of the detector; ``METRIC_low`` and ``METRIC_high`` are the ends of the
    95 % t interval over these trainings. The picture shows detections in five test images after the first training.

    ``scenes``: two to five digits on clutter, 96x96 px, generated; no scan of a test scene is in a training scene, and
    the scans are split as in the data source ``digits``. A backbone trained on ``digits`` knows its training scans.
    ``voc:PATH``: the official folders; training on trainval of 2007 and, if it is there, 2012 without difficult
    objects, test on test of 2007. Images are decoded batch by batch.

    Settings that are None follow the images: minutes on two CPU cores for scenes, the values of the paper (appendix C)
    for VOC. The learning rate rises over the first 5 % of the steps; it falls to a tenth after 2/3 and 5/6 of them
    (Faster R-CNN on VOC: after 5/6). Images are augmented on VOC only: colours, zoom, crop and flip for SSD, flip for
    Faster R-CNN. Training is in float32, with momentum 0.9 and weight decay 5e-4. SSD is that of Liu et al. (ECCV
    2016) on the network's maps, its first map that of stage 2 of a ResNet-50 at 300 px as in the paper. Faster R-CNN
    has a feature pyramid (Lin et al., CVPR 2017), which every network can feed; the paper's had none.

    On a GPU the sums of RoIAlign's backward pass have no fixed order: two measurements of Faster R-CNN differ there.

    Attributes:
        data: ``scenes`` or ``voc:PATH``; PATH contains VOC2007 or VOCdevkit.
        detectors: the detectors.
        seeds: trainings per detector and condition.
        from_scratch: whether detectors are also trained from scratch.
        image_size_px: side of the images in a detector, for Faster R-CNN the shorter one; None: 96 for scenes, 300 and
            600 for VOC.
        n_train: number of scenes, or largest number of images of VOC, that are trained on; None: 600
            scenes, all of VOC.
        n_images: the same of test images; None: 200 scenes, all of VOC.
        steps: training steps; None: 300 and 150 for scenes, 120,000 for VOC.
        batch_size: images per step; None: 16 for scenes, 32 and 8 for VOC.
        lr: peak learning rate; None: 0.03 for scenes, 0.001 and 0.01 for VOC.
        freeze_norms: whether batch norms of the model stay as they are in fine-tuning: statistics of fewer than about
            eight images per step are noisy.
        seed: seed of the scenes, of the drawn images, and of the trainings.

    Examples:
        >>> Detection(detectors=("ssd",), steps=500).recipe("ssd").lr
        0.03
    """

    name: ClassVar[str] = "detection"
    on_request: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("faster_coco_eval", "torchmetrics")
    headline: ClassVar[tuple[tuple[str, str], ...]] = tuple(
        (f"{detector}, {data}{start}", "voc07_map" if data.startswith(VOC) else "map_50")
        for data in SHOWN
        for detector in ("ssd", "faster_rcnn")
        for start in ("", ", from scratch")
    )

    data: str = SCENES
    detectors: Annotated[tuple[Name, ...], Field(strict=False)] = ("ssd", "faster_rcnn")
    seeds: int = Field(default=3, ge=1)
    from_scratch: bool = True
    image_size_px: int | None = Field(default=None, ge=32, le=2048)
    n_train: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    lr: float | None = Field(default=None, gt=0)
    freeze_norms: bool = False

    @field_validator("data")
    @classmethod
    def _known_data(cls, data: str) -> str:
        """Return the data with an absolute path: a measurement may run in another folder."""
        kind, _, path = data.partition(":")
        if kind == VOC and path:
            return f"{VOC}:{Path(path).expanduser().absolute()}"
        if data != SCENES:
            raise ValueError(f"must be {SCENES} or {VOC}:PATH, got '{data}'{did_you_mean(kind, (SCENES, VOC))}")
        return data

    @field_validator("detectors")
    @classmethod
    def _each_once(cls, detectors: tuple[Name, ...]) -> tuple[Name, ...]:
        if not detectors or len({*detectors}) < len(detectors):
            raise ValueError(f"must contain at least one detector, and each detector once, got {list(detectors)}")
        return detectors

    def recipe(self, detector: Name) -> Recipe:
        """Return the training of a detector."""
        usual = RECIPES[self._kind, detector]
        return Recipe(
            self.steps or usual.steps, self.batch_size or usual.batch_size, self.lr or usual.lr, usual.decay_at
        )

    def check(self, about: ModelInfo) -> None:
        """Refuse images that are not there, and networks that cannot be the backbone of a detector."""
        if self._root is not None:
            check_voc(self._root)
        net = build_model(
            about.config.model, n_classes=len(about.classes), height_px=about.height_px, width_px=about.width_px, seed=0
        )
        for detector in self.detectors:
            try:
                (levels_of if detector == "ssd" else pyramid_levels)(net, self._side_px(detector))
            except UserError as error:
                raise UserError(
                    f"model.name '{about.config.model.name}', trained on images of {about.height_px}x{about.width_px} "
                    f"px, cannot be the backbone of {detector}: {error}"
                ) from None

    def measure(self, subject: Subject) -> Measured:
        """Fine-tune each detector, and train it from scratch.

        Raises:
            ValueError: a training diverged.
        """
        if subject.device.type == "cuda":
            set_up_gpu("fp32", "reproducible")
        saved = subject.saved
        config, classes = saved.config, saved.classes
        backbone = Backbone(config.model, len(classes), saved.height_px, saved.width_px)
        normalize = saved.normalize
        assert isinstance(normalize, Normalize)
        mean, std = (each.flatten().tolist() for each in (normalize.mean, normalize.std))
        start = Start({name: value.cpu() for name, value in saved.net.state_dict().items()}, mean, std)
        values: list[Value] = []
        pictured: list[Row] = []
        for detector in self.detectors:
            condition = f"{detector}, {self._data_name}"
            tuned = self._runs(detector, backbone, start, subject.device)
            pictured.append(Row(condition, tuned[0].found[:N_PICTURED]))
            values += self._values(condition, [each.scores for each in tuned])
            if self.from_scratch:
                threads = torch.get_num_threads()
                scratch = _scratch_scores(self, detector, backbone, str(subject.device), threads)
                values += self._values(f"{condition}, from scratch", scratch)
                gains = [one.scores["map_50"] - two["map_50"] for one, two in zip(tuned, scratch, strict=True)]
                values += self._over_seeds("map_50_gain", gains, condition)
        return Measured(tuple(values), {"boxes": self._picture(pictured)})

    @property
    def _kind(self) -> str:
        return self.data.partition(":")[0]

    @property
    def _root(self) -> Path | None:
        """Folder of VOC; None for scenes."""
        return Path(self.data.partition(":")[2]) if self._kind == VOC else None

    @property
    def _data_name(self) -> str:
        return SCENES if self._root is None else voc_name(self._root)

    def _side_px(self, detector: Name) -> int:
        return self.image_size_px or SIDES_PX[self._kind, detector]

    def _task(self, detector: Name) -> Task:
        side_px = self._side_px(detector)
        test = self._images("test", side_px)
        return Task(
            detector=detector,
            side_px=side_px,
            recipe=self.recipe(detector),
            train=self._images("train", side_px),
            test=test,
            rows=range(len(test)),
            freeze_norms=self.freeze_norms,
        )

    def _images(self, split: Literal["train", "test"], side_px: int) -> BoxImages:
        count = self.n_train if split == "train" else self.n_images
        if self._root is None:
            return SceneImages(split, count=count or N_SCENES[split], side_px=side_px, seed=self.seed)
        images = VocImages(self._root, split)
        order = generator(self.seed, "images of detection", split).permutation(len(images))
        return images.of_rows(np.sort(order[:count]))

    def _runs(self, detector: Name, backbone: Backbone, start: Start | None, device: torch.device) -> list[Run]:
        """Train and test a detector with each seed; no start: from random weights."""
        task = self._task(detector)
        start = start or own_statistics(task.train)
        try:
            seeds = training_seeds(self.seed, self.seeds)
            return [run(task, backbone, start, seed=seed, device=device) for seed in seeds]
        except Diverged as error:
            how = "from scratch" if start.weights is None else "fine-tuned"
            raise ValueError(f"{detector}, {how}: {error}; lower detection.lr from {task.recipe.lr:g}") from None

    def _values(self, condition: str, scores: Sequence[Mapping[str, float]]) -> Iterator[Value]:
        for metric in METRICS:
            yield from self._over_seeds(metric, [each[metric] for each in scores], condition)

    def _over_seeds(self, metric: str, results: Sequence[float], condition: str) -> tuple[Value, Value, Value]:
        names = ("torchvision",) if metric.startswith("voc07") else ("torchvision", "torchmetrics", "faster-coco-eval")
        n_test = len(self._images("test", self._side_px(self.detectors[0])))
        return over_seeds(metric, results, n=n_test, setting=condition, library=library(*names))

    def _picture(self, rows: Sequence[Row]) -> bytes:
        test = self._images("test", self._side_px(self.detectors[0]))
        shown = range(min(N_PICTURED, len(test)))
        return boxes_png([test.image(row) for row in shown], [test.objects(row) for row in shown], rows, test.classes)


@functools.lru_cache(maxsize=8)
def _scratch_scores(
    axis: Detection, detector: Name, backbone: Backbone, device: str, threads: int
) -> list[Mapping[str, float]]:
    """Return the scores of the trainings from scratch: a process computes them once for all models of a network.

    The number of threads decides the order of sums, and so the last bits.
    """
    return [each.scores for each in axis._runs(detector, backbone, None, torch.device(device))]
