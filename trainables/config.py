"""The configuration of one training run: the one spelling of every path, from a study file to the inner loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trainables.adversarial_training import Attack
from trainables.data.config import Data
from trainables.data.sources.registry import WITH_BOXES, split_source
from trainables.errors import did_you_mean
from trainables.mixing.config import Mix
from trainables.mixing.schedule import Trapezoid
from trainables.strict import Frozen

CIFAR_DEPTHS = (8, 14, 20, 32, 56, 110)
TORCHVISION_DEPTHS = (18, 34, 50, 101, 152)

STAGES = {"tiny": 3} | {f"cifar_resnet{d}": 3 for d in CIFAR_DEPTHS} | {f"resnet{d}": 4 for d in TORCHVISION_DEPTHS}
"""Number of stages by the network's name: layers that can be mixed at."""

MODEL_NAMES = tuple(STAGES)
"""Names of the networks; known here without importing torch."""

Stage = Annotated[int, Field(ge=1)]


class DropBlock(Frozen):
    """Square blocks of single channels left out in training (Ghiasi, Lin and Le, NeurIPS 2018, algorithm 1).

    The defaults are the paper's for ImageNet; Yun et al. (ICCV 2019) took blocks of 4 px for CIFAR. Here blocks are
    dropped once, where a stage ends, and at the same rate in all stages. The authors' code does so after every
    convolution and skip connection of a stage, and in the last stage but one at a quarter of the rate.

    Attributes:
        prob: share of the maps that is meant to be dropped while the schedule is fully on; where blocks overlap it is
            a little less.
        block_px: side of a block in pixels of the map, and no more than the map's own.
        after_stages: stages, from 1, whose maps are dropped from; None: the last two.
        schedule: factor on ``prob`` over the planned steps; by default a line from 0 at the start to 1 at the end
            ("scheduled DropBlock", section 3).
    """

    prob: float = Field(default=0.1, ge=0, lt=1)
    block_px: int = Field(default=7, ge=1)
    after_stages: Annotated[tuple[Stage, ...], Field(strict=False)] | None = None
    schedule: Trapezoid = Trapezoid(ramp_up_end=1.0)

    @field_validator("after_stages")
    @classmethod
    def _each_once(cls, stages: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if stages is not None and not 0 < len(stages) == len(set(stages)):
            raise ValueError(f"must hold at least one stage, each once, got {list(stages)}")
        return stages


class Model(Frozen):
    """The network.

    Attributes:
        name: ``tiny``, a CIFAR ResNet (``cifar_resnet8`` .. ``cifar_resnet110``) or a torchvision ResNet
            (``resnet18`` .. ``resnet152``).
        width: factor on the number of channels of every layer.
        precision: ``bf16`` autocasts the forward pass and keeps images channels-last; ``auto`` takes it where the
            hardware multiplies bf16 natively.
        dropblock: blocks of the maps that are left out in training; None: none. It adds no weight.
    """

    name: str = "tiny"
    width: float = Field(default=1.0, gt=0, le=16)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    dropblock: DropBlock | None = None

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        if name not in MODEL_NAMES:
            raise ValueError(f"unknown network {name!r}{did_you_mean(name, MODEL_NAMES)}")
        return name

    @model_validator(mode="after")
    def _drops_from_what_there_is(self) -> Model:
        stages = None if self.dropblock is None else self.dropblock.after_stages
        if stages is not None and max(stages) > STAGES[self.name]:
            raise ValueError(
                f"dropblock.after_stages is {list(stages)}, but name '{self.name}' has {STAGES[self.name]} stages"
            )
        return self


class CosineSchedule(Frozen):
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, ICLR 2017, equation 5)."""

    kind: Literal["cosine"] = "cosine"
    warmup_frac: float = Field(default=0.0, ge=0, lt=1)


class TriangularSchedule(Frozen):
    """Linear up to the full rate at ``peak_frac`` of the run, linear down to zero at its end."""

    kind: Literal["triangular"] = "triangular"
    peak_frac: float = Field(default=0.2, gt=0, lt=1)


class StepSchedule(Frozen):
    """Times ``factor`` at each milestone, a fraction of the run.

    The defaults are the CIFAR recipe of Yun et al. (ICCV 2019): x0.1 at 150 and 225 of 300 epochs; the ImageNet
    recipe has milestones 0.25, 0.5 and 0.75.
    """

    kind: Literal["step"] = "step"
    milestones_frac: Annotated[tuple[float, ...], Field(strict=False)] = (0.5, 0.75)
    factor: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _rising(self) -> StepSchedule:
        marks = self.milestones_frac
        if list(marks) != sorted(set(marks)) or not all(0 < mark < 1 for mark in marks):
            raise ValueError(f"milestones_frac must rise between 0 and 1, got {list(marks)}")
        return self


class Optimizer(Frozen):
    """Stochastic gradient descent with Nesterov momentum over a fixed number of planned epochs.

    Attributes:
        max_epochs: planned epochs; every schedule is computed from the steps they hold, so that stopping early or
            resuming changes no step.
        lr: peak learning rate.
        momentum: Nesterov momentum; 0 is plain gradient descent.
        weight_decay: L2 penalty on weights of convolutions and linear layers, none on norms and biases.
        schedule: factor on ``lr`` over the run.
        ema_decay: decay a step of the exponential moving average of the weights that is then evaluated; None: off.
    """

    max_epochs: int = Field(default=20, ge=1)
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Annotated[CosineSchedule | TriangularSchedule | StepSchedule, Field(discriminator="kind")] = (
        CosineSchedule()
    )
    ema_decay: float | None = Field(default=None, gt=0, lt=1)


class Evaluation(Frozen):
    """How a network is measured after an epoch.

    Attributes:
        batch_size: images a forward pass; it changes memory and speed, not the values.
        ece_bins: equal-width confidence bins of the expected calibration error (Guo et al., ICML 2017: 15).
    """

    batch_size: int = Field(default=500, ge=1)
    ece_bins: int = Field(default=15, ge=1)


class TrialConfig(Frozen):
    """Everything that defines one training run.

    Attributes:
        data: images, splits, batches.
        model: the network.
        optimizer: steps, rates, planned epochs.
        mix: the mixing policy; a preset's name or its parts.
        adversarial: attack on the mixed images, against their mixed targets, before each step; None: none.
        evaluation: how it is measured.
        seed: source of every generator of the run: weights, order, augmentation, mixing. Trials that share it share
            their initial weights and the order of their data.
    """

    data: Data = Data()
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    mix: Mix = Mix.model_validate("off")
    adversarial: Attack | None = None
    evaluation: Evaluation = Evaluation()
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _mixes_what_there_is(self) -> TrialConfig:
        stages, layers = STAGES[self.model.name], self.mix.layers
        if max(layers) > stages:
            given = layers[0] if len(layers) == 1 else list(layers)
            raise ValueError(f"mix.layer is {given}, but model.name '{self.model.name}' has {stages} stages")
        name, _ = split_source(self.data.source)
        if "boxes" in self.mix.needs and name not in WITH_BOXES:
            raise ValueError(
                f"mix looks at objects' boxes, but data.source '{name}' has none: {', '.join(WITH_BOXES)} have"
            )
        return self

    @model_validator(mode="after")
    def _attacks_what_it_can(self) -> TrialConfig:
        if self.adversarial is None:
            return self
        if max(self.mix.layers) > 0:
            raise ValueError(f"adversarial attacks mixed images, but mix.layer is {self.mix.layer}: use layer 0")
        if any(policy.content == "noise" for policy in self.mix.policies):
            raise ValueError("adversarial keeps pixels in their range, which those of mix.content 'noise' leave")
        if self.model.dropblock is not None:
            raise ValueError(
                "adversarial seeks images for the network that is trained, but model.dropblock makes it another one at "
                "every pass: drop one of them"
            )
        return self
