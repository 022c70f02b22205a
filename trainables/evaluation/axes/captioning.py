"""Transfer of the backbone to image captioning: as the encoder of NIC, compared with training from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from trainables.data.sources.registry import absolute_source
from trainables.evaluation.base import Axis, Measured, Value, library
from trainables.evaluation.captions.data import CaptionedImages, Split, check_caption_data, open_captions
from trainables.evaluation.captions.encoder import EncoderKind
from trainables.evaluation.captions.network import Captioner
from trainables.evaluation.captions.picture import captions_png
from trainables.evaluation.captions.scores import CaptionScorer, Scores, best_constant, check_java
from trainables.evaluation.captions.training import Recipe, train_captioner, write_captions
from trainables.evaluation.captions.words import Vocabulary
from trainables.evaluation.over_seeds import over_seeds, training_seeds
from trainables.evaluation.subject import ModelInfo, Subject
from trainables.models.saved import Normalize
from trainables.precision import set_up_gpu
from trainables.seeds import derive_seed, generator

SCENE_PX = 64
"""Smallest side of generated scenes: a small digit then has 13 to 17 px, as in the data source ``digits``."""

N_PICTURED = 8

Captions = tuple[tuple[str, ...], ...]
"""Captions of the test images by training."""


class Captioning(Axis):
    """Quality of captions that are written from the features of the model.

    The network becomes the encoder of Neural Image Caption (Vinyals et al., CVPR 2015), as in table 10 and appendix D
    of Yun et al. (ICCV 2019): an LSTM sees its pooled features, then writes words. Conditions; DATA is ``scenes`` or
    ``coco``:

    - ``DATA``: all weights are trained, starting from the model.
    - ``DATA, from scratch``: the same network, images, captions, steps and order, starting from random weights. It is
      trained once per process for all models with the same network.
    - ``DATA, constant caption``: one training caption for each image, the best of 100 by BLEU-4 on training
      images. It needs no network: a captioner is worth what it adds.

    The program of the MS-COCO evaluation computes the metrics: ``bleu_1`` to ``bleu_4``, ``rouge_l``, ``cider``
    (CIDEr-D), and ``meteor`` with Java. They are fractions; ``cider`` reaches 10. Each is the mean over ``seeds``
    trainings; ``METRIC_low`` and ``METRIC_high`` are the ends of its 95 % t interval. n: test images.

    Training is Adam on the cross-entropy of the next word, with rates that fall to zero on half a cosine, in float32,
    without mixing, augmentation or dropped blocks, and the same for each model. Images are normalised as for the model.
    Published figures cannot be reached with the defaults; the paper's values are, as far as it states them:

    ==================  ==============================  ==========================================================
    setting             default                         Yun et al. and the code that they name as their base
    ==================  ==============================  ==========================================================
    data                scenes                          MS-COCO; 120,000 images for training and validation
    image_size_px       the model's side, 64 at least   not stated; the networks were trained at 224
    n_train             2,000                           all (null)
    epochs, batch_size  8 epochs, 32 images             100 epochs, 20 captions
    lr                  0.005                           0.001
    beam                3                               20
    min_word_count      4                               4 in the base code; 5 in Vinyals et al.
    units               256                             512 in Vinyals et al.
    backbone_lr         0.002                           not stated; the base code keeps the network's weights (0)
    ==================  ==============================  ==========================================================

    An epoch of the base code passes over all captions, of which an image has five: as many images as five epochs here.
    The paper does not name the images of its test; its 40,000 are as many as the official validation images. Vinyals et
    al. train with stochastic gradient descent and dropout, and average several models.

    The picture ``captions`` shows a few test images with the captions of the first training.

    Attributes:
        data: ``scenes``: generated images of one to three digits with five captions each; or ``coco:PATH``: MS-COCO,
            the folder with ``annotations/captions_train2014.json``, ``captions_val2014.json``, ``train2014/`` and
            ``val2014/``, or 2017. Training images train, validation images test.
        karpathy: split MS-COCO by ``PATH/dataset_coco.json`` (Karpathy and Fei-Fei, CVPR 2015).
        image_size_px: side of the images; the short side of a photograph is resized, its centre is cropped. None: the
            shorter side of the model's images, for scenes at least 64.
        n_train: largest number of training images; None: all of MS-COCO.
        n_images: largest number of test images; None: all of MS-COCO.
        seeds: number of trainings per condition.
        seed: seed of the images and of the trainings.
        epochs: passes over the training images; each pass draws one of the captions of an image.
        batch_size: images per step, each with one caption.
        lr: peak learning rate of the decoder.
        backbone_lr: peak learning rate of the model's network; 0: its weights and norms stay as they are.
        scratch_lr: peak learning rate of the network from scratch, which must be higher than for trained weights.
        units: units of the LSTM and dimensions of a word.
        min_word_count: how often a word must occur in training captions to be written.
        max_words: longest caption.
        beam: beginnings of captions that beam search keeps; 1: greedy search.
        java: whether Java splits the words, as in the official evaluation, and computes ``meteor`` (METEOR 1.5).
            Otherwise words are split at spaces and punctuation. Scores of generated scenes are the same.

    Examples:
        >>> Captioning(data="coco:coco", n_train=None, beam=20).seeds
        3
    """

    name: ClassVar[str] = "captioning"
    on_request: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("pycocoevalcap",)
    headline: ClassVar[tuple[tuple[str, str], ...]] = tuple(
        (f"{data}{suffix}", metric)
        for data in ("scenes", "coco")
        for suffix in ("", ", from scratch", ", constant caption")
        for metric in ("bleu_4", "cider")
    )

    data: str = "scenes"
    karpathy: bool = False
    image_size_px: int | None = Field(default=None, ge=16, le=1024)
    n_train: int | None = Field(default=2000, ge=2)
    n_images: int | None = Field(default=500, ge=1)
    seeds: int = Field(default=3, ge=1)
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=32, ge=2)
    lr: float = Field(default=0.005, gt=0)
    backbone_lr: float = Field(default=0.002, ge=0)
    scratch_lr: float = Field(default=0.005, gt=0)
    units: int = Field(default=256, ge=1)
    min_word_count: int = Field(default=4, ge=1)
    max_words: int = Field(default=20, ge=1)
    beam: int = Field(default=3, ge=1, le=100)
    java: bool = False

    @field_validator("data")
    @classmethod
    def _with_absolute_path(cls, data: str) -> str:
        """Return the data with an absolute path: a measurement may run in another folder."""
        return absolute_source(data)

    def check(self, about: ModelInfo) -> None:
        """Refuse missing files or Java, and a size of images that the network does not take."""
        check_caption_data(self.data, n_train=self.n_train, n_test=self.n_images, karpathy=self.karpathy)
        if self.java:
            check_java()
        kind = EncoderKind(about.config.model, len(about.classes), about.height_px, about.width_px)
        kind.check_takes(self._side_px(kind))

    def measure(self, subject: Subject) -> Measured:
        """Train the captioners, write captions for the test images, and compare them with the references."""
        saved, device = subject.saved, subject.device
        assert isinstance(saved.normalize, Normalize)
        if device.type == "cuda":
            set_up_gpu("fp32", "reproducible")
        kind = EncoderKind(saved.config.model, len(saved.classes), saved.height_px, saved.width_px)
        statistics = tuple(tuple(each.flatten().tolist()) for each in (saved.normalize.mean, saved.normalize.std))
        train, test = self._open("train", kind), self._open("test", kind)
        tuned = self._written(kind, statistics, (train, test), device, weights=saved.net.state_dict())
        scratch = _written_from_scratch(self, kind, statistics, device)
        with CaptionScorer(java=self.java) as scorer:
            constant = best_constant(train.references, seed=self.seed)
            values = (
                *self._values("", tuned, test, scorer),
                *self._values(", from scratch", scratch, test, scorer),
                *self._constant_values(constant, test, scorer),
            )
        return Measured(values, {"captions": self._picture(test, tuned[0])})

    def written_from_scratch(
        self, kind: EncoderKind, statistics: tuple[tuple[float, ...], ...], device: torch.device
    ) -> Captions:
        """Return the captions of a network that starts from random weights; they depend on no model."""
        images = self._open("train", kind), self._open("test", kind)
        return self._written(kind, statistics, images, device, weights=None)

    def _written(
        self,
        kind: EncoderKind,
        statistics: tuple[tuple[float, ...], ...],
        images: tuple[CaptionedImages, CaptionedImages],
        device: torch.device,
        *,
        weights: Mapping[str, Tensor] | None,
    ) -> Captions:
        """Train one captioner per seed, from the weights of a model or from random ones; return the test captions."""
        train, test = images
        vocabulary = Vocabulary.of((one for some in train.references for one in some), min_count=self.min_word_count)
        mean, std = (torch.tensor(each) for each in statistics)
        captions = []
        for seed in training_seeds(self.seed, self.seeds):
            captioner = Captioner(
                Normalize(mean, std),
                kind.build(seed=derive_seed(seed, "network"), weights=weights),
                n_words=len(vocabulary),
                units=self.units,
                seed=derive_seed(seed, "decoder"),
            ).to(device)
            recipe = Recipe(
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                backbone_lr=self.scratch_lr if weights is None else self.backbone_lr,
                max_words=self.max_words,
                seed=seed,
            )
            train_captioner(captioner, train, vocabulary, recipe, device=device)
            written = write_captions(
                captioner, test, vocabulary, beam=self.beam, max_words=self.max_words, device=device
            )
            captions.append(tuple(written))
        return tuple(captions)

    def _values(self, suffix: str, captions: Captions, test: CaptionedImages, scorer: CaptionScorer) -> list[Value]:
        scores: list[Scores] = [scorer.score(written, test.references) for written in captions]
        setting, used = f"{self._data_name}{suffix}", library("pycocoevalcap", "torch")
        return [
            value
            for metric in scores[0]
            for value in over_seeds(
                metric, [each[metric] for each in scores], n=len(test), setting=setting, library=used
            )
        ]

    def _constant_values(self, caption: str, test: CaptionedImages, scorer: CaptionScorer) -> list[Value]:
        scores = scorer.score([caption] * len(test), test.references)
        setting, used = f"{self._data_name}, constant caption", library("pycocoevalcap")
        return [Value(metric, score, len(test), setting, library=used) for metric, score in scores.items()]

    def _picture(self, test: CaptionedImages, captions: Sequence[str]) -> bytes:
        shown = generator(self.seed, "pictured captions").permutation(len(test))[:N_PICTURED]
        references = [test.references[row][0] for row in shown]
        return captions_png(test.pixels(shown), [captions[row] for row in shown], references)

    def _open(self, split: Split, kind: EncoderKind) -> CaptionedImages:
        return open_captions(
            self.data,
            split,
            count=self.n_train if split == "train" else self.n_images,
            side_px=self._side_px(kind),
            seed=self.seed,
            karpathy=self.karpathy,
        )

    def _side_px(self, kind: EncoderKind) -> int:
        if self.image_size_px is not None:
            return self.image_size_px
        side_px = min(kind.height_px, kind.width_px)
        return max(SCENE_PX, side_px) if self._data_name == "scenes" else side_px

    @property
    def _data_name(self) -> str:
        return self.data.partition(":")[0]


@lru_cache(maxsize=4)
def _written_from_scratch(
    axis: Captioning, kind: EncoderKind, statistics: tuple[tuple[float, ...], ...], device: torch.device
) -> Captions:
    """Return the captions of networks from scratch; the models of a sweep that a process measures share them."""
    return axis.written_from_scratch(kind, statistics, device)
