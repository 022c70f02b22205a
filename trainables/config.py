"""Configuration of one training run: a path has one spelling from the study file to the inner loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trainables.adversarial_training import Attack
from trainables.augment.config import Augment
from trainables.augment.operations import AFFINE
from trainables.data.config import Data
from trainables.data.sources.registry import SOURCES, WITH_BOXES, split_source
from trainables.mixing.config import Mix
from trainables.mixing.schedule import Trapezoid
from trainables.networks import NETWORKS
from trainables.strict import Frozen

Stage = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


def _is_none(value: object) -> bool:
    return value is None


def _is_sgd(value: object) -> bool:
    return value == "sgd"


def _is_off(value: Augment) -> bool:
    return value.is_off


def _is_on_weights(value: object) -> bool:
    return value == "weights"


def _is_two(value: object) -> bool:
    return value == 2


class DropBlock(Frozen):
    """Square blocks of single channels set to zero in training (Ghiasi, Lin and Le, NeurIPS 2018, algorithm 1).

    The defaults are the paper's for ImageNet; Yun et al. (ICCV 2019) used blocks of 4 px for CIFAR. Here blocks are
    dropped once per stage, at its end, and at the same rate in all stages. The authors' code drops blocks after each
    convolution and skip connection of a stage, and uses a quarter of the rate in the last stage but one.

    Attributes:
        prob: intended fraction of dropped pixels while the schedule is 1; overlapping blocks make it slightly smaller.
        block_px: side of a block in pixels of the feature map, limited to the side of the map.
        after_stages: stages, from 1, after which blocks are dropped; None: the last two.
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
            raise ValueError(f"must contain at least one stage, and each stage once, got {list(stages)}")
        return stages


ON_GPU_ONLY = ("fp16", "tf32")
"""Precisions that a CPU does not have, or has only slowly."""


class StochasticDepth(Frozen):
    """Residual branches dropped at random in training (Huang et al., ECCV 2016).

    Branch l of L survives with probability p_l = 1 - l / L * (1 - p_L) (equation 4), and is multiplied by p_l in
    evaluation (equation 5).

    Attributes:
        survival_prob: p_L, probability that the last branch is kept.
        granularity: ``batch`` drops a branch for a whole batch, as in the paper; ``sample`` for each image apart.
    """

    survival_prob: float = Field(default=0.5, gt=0, le=1)
    granularity: Literal["batch", "sample"] = "batch"


class ShakeDrop(Frozen):
    """Residual branches multiplied by random factors in training (Yamada et al., IEEE Access 2019).

    The factor of branch l is b + alpha - b alpha in the forward pass, b + beta - b beta in the backward pass, and its
    expected value in evaluation. b is 1 with probability p_l = 1 - l / L * (1 - p_L), otherwise 0. alpha and beta are
    uniform and drawn for each image. The paper uses it in networks whose branches end in a batch norm.

    Attributes:
        survival_prob: p_L, probability that b is 1 in the last branch.
        alpha: lower and upper end of alpha.
        beta: lower and upper end of beta.
        granularity: ``batch`` draws one b per batch, ``sample`` one per image.
    """

    survival_prob: float = Field(default=0.5, gt=0, le=1)
    alpha: Annotated[tuple[float, float], Field(strict=False)] = (-1.0, 1.0)
    beta: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)
    granularity: Literal["batch", "sample"] = "batch"

    @field_validator("alpha", "beta")
    @classmethod
    def _rising(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] > ends[1]:
            raise ValueError(f"must be [lower, upper], got {list(ends)}")
        return ends


class Model(Frozen):
    """The network.

    Attributes:
        name: ``tiny``, a CIFAR ResNet (``cifar_resnet8`` .. ``cifar_resnet110``), a torchvision ResNet
            (``resnet18`` .. ``resnet152``); a network with its sizes in the name, for example
            ``pyramidnet200_a240_bn``, ``wrn28_10``, ``resnext29_32x4d``, ``resnext101_32x4d``; ``timm:NAME``; or a
            network of one's own, ``package.module:Class``.
        width: factor on the number of channels of each layer; for a PyramidNet on alpha, for a Wide ResNet on its
            width factor; 1 for networks of timm.
        last_stride: stride of the last stage of a ResNet or ResNeXt; 1 gives maps of twice the side, 14x14 instead of
            7x7 at 224 px, as for the localization of Yun et al. (ICCV 2019, appendix B).
        precision: ``bf16`` and ``fp16`` autocast the forward pass; ``tf32`` rounds the factors of products to 10 bits;
            ``auto`` is ``bf16`` if the device multiplies bf16 natively, otherwise ``fp32``. ``fp16`` and ``tf32`` need
            a GPU.
        dropblock: blocks of feature maps that are set to zero in training; None: none. It adds no weights.
        stochastic_depth: residual branches dropped at random in training; None: none. It adds no weights.
        shakedrop: residual branches multiplied by random factors in training; None: none. It adds no weights.

    Examples:
        >>> Model(name="resnet18", width=0.25).precision
        'auto'
    """

    name: str = "tiny"
    width: float = Field(default=1.0, gt=0, le=16)
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "auto"
    dropblock: DropBlock | None = None
    # left out of the dump with their defaults: what older versions recorded stays equal
    last_stride: Literal[1, 2] = Field(default=2, exclude_if=_is_two)
    stochastic_depth: StochasticDepth | None = Field(default=None, exclude_if=_is_none)
    shakedrop: ShakeDrop | None = Field(default=None, exclude_if=_is_none)

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        NETWORKS[name]
        return name

    @property
    def n_stages(self) -> int:
        """Number of stages of the network; a stage is a layer that can be mixed at."""
        return NETWORKS[self.name].n_stages

    @property
    def branches(self) -> StochasticDepth | ShakeDrop | None:
        """The option that scales residual branches at random in training; None: none does."""
        return self.stochastic_depth or self.shakedrop

    @model_validator(mode="after")
    def _scales_what_there_is(self) -> Model:
        if self.branches is None:
            return self
        if self.stochastic_depth is not None and self.shakedrop is not None:
            raise ValueError("stochastic_depth and shakedrop scale the same residual branches: remove one of them")
        option = "shakedrop" if self.stochastic_depth is None else "stochastic_depth"
        if not NETWORKS[self.name].residuals:
            raise ValueError(f"name '{self.name}' declares no residual branches: remove {option}")
        return self

    @model_validator(mode="after")
    def _has_the_stride(self) -> Model:
        if self.last_stride == 1 and not NETWORKS[self.name].has_last_stride:
            raise ValueError(
                f"last_stride is 1, but name '{self.name}' has no stride in its last stage that can be removed: remove "
                "last_stride, or use a network such as resnet50 or resnext101_32x4d"
            )
        return self

    @model_validator(mode="after")
    def _drops_from_what_there_is(self) -> Model:
        stages = None if self.dropblock is None else self.dropblock.after_stages
        if stages is not None and max(stages) > self.n_stages:
            raise ValueError(
                f"dropblock.after_stages is {list(stages)}, but name '{self.name}' has {self.n_stages} stages"
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
    """Multiply the rate by ``factor`` at each milestone, a fraction of the run.

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


ADAMW_BETAS = (0.9, 0.999)
"""Default of ``betas``, also that of torch and timm."""


class Optimizer(Frozen):
    """Stochastic gradient descent with Nesterov momentum, or AdamW, over a fixed number of planned epochs.

    The defaults are for ``sgd``. A usual recipe with ``adamw``, that of ConvNeXt and Swin on ImageNet, has ``lr`` 0.001
    per 1024 images of a batch, ``weight_decay`` 0.05 and a cosine schedule with ``warmup_frac`` 0.067.

    Attributes:
        name: ``sgd`` or ``adamw`` (Loshchilov and Hutter, ICLR 2019, algorithm 2).
        max_epochs: planned epochs; each schedule is computed from their number of steps, so that early stopping and
            resuming change no step.
        lr: peak learning rate.
        momentum: Nesterov momentum of ``sgd``; 0 is plain gradient descent.
        betas: decay of the running means of gradients and their squares with ``adamw``; None: 0.9 and 0.999.
        weight_decay: an L2 penalty with ``sgd``, decoupled from the gradient with ``adamw``.
        decay_on: ``weights`` decays the weights of convolutions and linear layers; ``all`` also norms and biases, as
            torch's optimisers do with ``model.parameters()``, and the code of Yun et al. (ICCV 2019) with them.
        schedule: factor on ``lr`` over the run.
        ema_decay: decay per step of the exponential moving average of the weights, which is then evaluated; None: off.
    """

    # left out of the dump with its default: what older versions recorded stays equal
    name: Literal["sgd", "adamw"] = Field(default="sgd", exclude_if=_is_sgd)
    max_epochs: int = Field(default=20, ge=1)
    lr: float = Field(default=0.1, gt=0, le=1e6)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] | None = Field(default=None, exclude_if=_is_none)
    weight_decay: float = Field(default=5e-4, ge=0, le=1e6)
    decay_on: Literal["weights", "all"] = Field(default="weights", exclude_if=_is_on_weights)
    schedule: Annotated[CosineSchedule | TriangularSchedule | StepSchedule, Field(discriminator="kind")] = (
        CosineSchedule()
    )
    ema_decay: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _fits_the_optimizer(self) -> Optimizer:
        if self.name == "sgd" and self.betas is not None:
            raise ValueError("betas have no effect with name 'sgd': remove them, or set name to adamw")
        if self.name == "adamw" and self.momentum != Optimizer.model_fields["momentum"].default:
            raise ValueError("momentum has no effect with name 'adamw': remove it, and set betas")
        return self


class Evaluation(Frozen):
    """Measurement of a network after an epoch.

    Attributes:
        batch_size: images per forward pass; it changes memory and speed, not the values.
        ece_bins: equal-width confidence bins of the expected calibration error (Guo et al., ICML 2017: 15).
    """

    batch_size: int = Field(default=500, ge=1, le=1_000_000)
    ece_bins: int = Field(default=15, ge=1, le=10_000)


class Compute(Frozen):
    """How a GPU computes a trial; a CPU computes the same bits with all of these values.

    Attributes:
        kernels: ``reproducible`` computes the same bits each time. ``fastest`` measures the algorithms of each
            convolution and takes the fastest one. Confirming trials always use reproducible kernels.
        step: ``auto`` captures the training step as one CUDA graph where that is possible, and checks at the start of
            the trial that its bits equal those of the ``eager`` step, which launches each operation.
        loss_scale: factor on the loss in the backward pass with ``model.precision: fp16``, so that small gradients do
            not become 0. It stays the same in all steps. A trial diverges if a gradient times this factor exceeds
            65,504.

    Examples:
        >>> Compute(kernels="fastest").step
        'auto'
    """

    kernels: Literal["reproducible", "fastest"] = "reproducible"
    step: Literal["auto", "eager"] = "auto"
    loss_scale: float = Field(default=1024.0, ge=1, le=2**24)


class TrialConfig(Frozen):
    """Everything that defines one training run.

    Attributes:
        data: images, splits, batches.
        augment: random changes of each image before mixing, besides crop and flip; none by default.
        model: the network.
        optimizer: steps, rates, planned epochs.
        mix: the mixing policy: the name of a preset, or its parts.
        adversarial: attack on the mixed images, against their mixed targets, before each step; None: none.
        evaluation: measurement after an epoch.
        compute: how a GPU computes the trial.
        seed: seed of all generators of the run: weights, order, augmentation, mixing. Trials with the same seed have
            the same initial weights and order of data.

    Examples:
        >>> config = TrialConfig.model_validate({"model": {"name": "cifar_resnet20"}, "mix": {"preset": "cutmix"}})
        >>> config.model.name, config.optimizer.max_epochs, config.seed
        ('cifar_resnet20', 20, 0)
    """

    data: Data = Data()
    augment: Augment = Field(default=Augment(), exclude_if=_is_off)
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    mix: Mix = Mix.model_validate("off")
    adversarial: Attack | None = None
    evaluation: Evaluation = Evaluation()
    compute: Compute = Compute()
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _mixes_what_there_is(self) -> TrialConfig:
        stages, layers = self.model.n_stages, self.mix.layers
        if max(layers) > stages:
            layer = layers[0] if len(layers) == 1 else list(layers)
            raise ValueError(f"mix.layer is {layer}, but model.name '{self.model.name}' has {stages} stages")
        name, _ = split_source(self.data.source)
        if "boxes" in self.mix.needs and not SOURCES[name].has_boxes:
            raise ValueError(
                f"mix needs the boxes of objects, but data.source '{name}' has none; sources with boxes: "
                f"{', '.join(WITH_BOXES)}"
            )
        return self

    @model_validator(mode="after")
    def _crops_once(self) -> TrialConfig:
        if self.augment.resized_crop is not None and self.data.pad_px not in (0, Data.model_fields["pad_px"].default):
            raise ValueError(
                f"data.pad_px is {self.data.pad_px}, but augment.resized_crop replaces its crop: remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _keeps_boxes_on_their_objects(self) -> TrialConfig:
        policy = self.augment.policy
        if policy is not None and "boxes" in self.mix.needs and (moving := set(policy.operations) & set(AFFINE)):
            raise ValueError(
                "mix needs the boxes of objects, which are not moved with the pixels, but augment.policy "
                f"'{policy.kind}' has {', '.join(name for name in AFFINE if name in moving)}: remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _attacks_what_it_can(self) -> TrialConfig:
        if self.adversarial is None:
            return self
        if max(self.mix.layers) > 0:
            raise ValueError(f"adversarial attacks mixed images, but mix.layer is {self.mix.layer}: set mix.layer to 0")
        if any(policy.content == "noise" for policy in self.mix.policies):
            raise ValueError(
                "adversarial needs pixels in [0, 255], but mix.content 'noise' has others: change mix.content"
            )
        for option in ("dropblock", "stochastic_depth", "shakedrop"):
            if getattr(self.model, option) is not None:
                raise ValueError(
                    f"adversarial needs the same network in each pass, but model.{option} changes it at random: remove "
                    "one of them"
                )
        return self
