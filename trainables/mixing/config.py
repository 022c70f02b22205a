"""The grammar of mixing: orthogonal parts, each with its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.errors import did_you_mean
from trainables.merging import merged
from trainables.mixing.labels import Label
from trainables.mixing.masks import AnyMask
from trainables.mixing.masks.box import Box
from trainables.mixing.pairing import Pairing, PermutePairing
from trainables.mixing.position import ClipPosition, Position
from trainables.mixing.presets import expand_preset
from trainables.mixing.schedule import Trapezoid
from trainables.mixing.size import BetaSize, Size
from trainables.strict import Frozen

Layer = Annotated[int, Field(ge=0)]


class Apply(Frozen):
    """When a sample is mixed.

    Attributes:
        prob: chance of being mixed while the schedule is fully on.
        gate: whether one coin is thrown for each ``sample`` or one for the whole ``batch`` (the paper's code).
        schedule: factor on ``prob`` over the planned steps.
    """

    prob: float = Field(default=1.0, ge=0, le=1)
    gate: Literal["sample", "batch"] = "sample"
    schedule: Trapezoid = Trapezoid()

    def prob_at(self, t: float) -> float:
        """Return the chance of being mixed when the share ``t`` of the planned steps is done."""
        return self.prob * self.schedule.factor(t)

    @property
    def mean_prob(self) -> float:
        """Mean chance of being mixed over the planned steps."""
        return self.prob * self.schedule.mean


class Mix(Frozen):
    """A mixing policy: how much (size), in which shape (mask), where (position), of what (content) goes into an image.

    A string, or the key ``preset``, starts from a named policy; further keys change parts of it.

    Attributes:
        mask: family of the mask and its parameters.
        size: law of the pasted fraction.
        position: how a shape is placed in the image.
        source: which part of the partner is pasted: the ``same`` place, a ``displaced`` one (of the same shape,
            uniform among those that lie inside the image; any shift where masks wrap around), or the whole partner
            ``resized`` to the mask's bounding box.
        pairing: which image is the partner.
        granularity: whether each ``sample`` has its own size and mask, both partners of a ``pair`` share theirs (as in
            timm), or all of a ``batch`` do (as in the paper's code and in torchvision).
        content: what is pasted: the ``partner``, ``zero`` (after normalisation, so the mean colour) or ``noise``
            (standard normal a channel). Only a partner changes the label.
        label: from the share of pixels to the share of the label.
        apply: probability, gate and schedule.
        layer: what is mixed: 0 the images, k the maps after the network's k-th stage; of a list each batch draws one
            (Manifold Mixup).
        alternate: a second policy that takes the place of this one at random.
    """

    mask: AnyMask = Box()
    size: Size = BetaSize()
    position: Position = ClipPosition()
    source: Literal["same", "displaced", "resized"] = "same"
    pairing: Pairing = PermutePairing()
    granularity: Literal["sample", "pair", "batch"] = "sample"
    content: Literal["partner", "zero", "noise"] = "partner"
    label: Label = Label()
    apply: Apply = Apply()
    layer: Layer | Annotated[tuple[Layer, ...], Field(strict=False, min_length=1)] = 0
    alternate: Alternate | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return _smoothed_alike(expand_preset(values)) if isinstance(values, (str, Mapping)) else values

    @model_validator(mode="after")
    def _makes_sense(self) -> Mix:
        check_policy(self)
        return self

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that a batch may be mixed at."""
        return (self.layer,) if isinstance(self.layer, int) else self.layer

    @property
    def policies(self) -> tuple[Mix, ...]:
        """This policy and the one that may take its place."""
        return (self,) if self.alternate is None else (self, self.alternate.mix)

    @property
    def looks_at(self) -> frozenset[str]:
        """What of the partners must be at hand: ``images``, ``boxes``, both or nothing."""
        needs = (need for policy in self.policies for need in (policy.mask.looks_at, policy.position.looks_at))
        return frozenset(need for need in needs if need)


class Alternate(Frozen):
    """A second policy, as where batches are mixed by Mixup or by CutMix.

    Attributes:
        prob: chance that it takes the first one's place; its own ``apply`` then decides whether it mixes.
        gate: whether each ``sample`` or a whole ``batch`` changes over.
        mix: the policy.
    """

    prob: float = Field(default=0.5, ge=0, le=1)
    gate: Literal["sample", "batch"] = "batch"
    mix: Mix


Mix.model_rebuild()


def _smoothed_alike(values: dict[str, Any]) -> dict[str, Any]:
    """Give the second policy the first one's smoothing where it states none: targets are smoothed once."""
    label, alternate = values.get("label"), values.get("alternate")
    if not (isinstance(label, Mapping) and "smoothing" in label and isinstance(alternate, Mapping)):
        return values
    if not isinstance(alternate.get("mix"), (str, Mapping)):
        return values
    second = merged({"label": {"smoothing": label["smoothing"]}}, expand_preset(alternate["mix"]))
    return values | {"alternate": {**alternate, "mix": second}}


def check_policy(mix: Mix) -> None:
    """Refuse combinations of parts that have no meaning, or in which a part would silently have no effect.

    Raises:
        ValueError: naming the parts, their values, the reason and what is valid.
    """
    family, position = str(getattr(mix.mask, "family")), mix.position.kind  # noqa: B009 (families declare it)
    if position not in mix.mask.positions:
        raise ValueError(
            f"position.kind is '{position}', but a mask of family '{family}' is not placed that way"
            f"{did_you_mean(position, mix.mask.positions)}"
        )
    if getattr(mix.mask, "count", 1) > 1 and mix.position.looks_at:
        raise ValueError(
            f"mask.count is {getattr(mix.mask, 'count')}, but position.kind '{position}' gives all shapes of a sample "  # noqa: B009
            "the same centre: use clip, inside, torus, spill or gauss, or count 1"
        )
    _check_source(mix, family)
    _check_granularity(mix)
    if mix.content != "partner":
        _check_content(mix)
    if mix.looks_at and max(mix.layers) > 0:
        raise ValueError(
            f"layer is {mix.layer}, but the policy looks at the partners' {' and '.join(sorted(mix.looks_at))}, which "
            "belong to images: use layer 0"
        )
    if len(set(mix.layers)) < len(mix.layers):
        raise ValueError(f"layer lists a layer twice: {list(mix.layers)}")
    if mix.alternate is not None:
        _check_alternate(mix, mix.alternate.mix)


def _check_source(mix: Mix, family: str) -> None:
    if mix.source == "same":
        return
    if mix.content != "partner":
        raise ValueError(f"source is '{mix.source}', but content is '{mix.content}': only a partner has places")
    if mix.position.kind == "whole":
        raise ValueError(
            f"source is '{mix.source}', but the mask of family '{family}' covers the whole image: use source same"
        )
    if mix.source == "resized" and (not mix.mask.framed or mix.position.wraps or getattr(mix.mask, "count", 1) > 1):
        raise ValueError(
            "source is 'resized', but it needs one bounding box to fill: a single box or ellipse that does not wrap "
            "around (position.kind other than torus)"
        )


def _check_granularity(mix: Mix) -> None:
    if mix.granularity == "pair" and mix.pairing.kind != "flip":
        raise ValueError(
            f"granularity is 'pair', but with pairing.kind '{mix.pairing.kind}' a partner's partner is another sample: "
            "use pairing.kind flip"
        )
    needs = mix.mask.looks_at or mix.position.looks_at
    if mix.granularity != "sample" and needs:
        raise ValueError(
            f"granularity is '{mix.granularity}', but masks follow each partner's own {needs}: use granularity sample"
        )


def _check_content(mix: Mix) -> None:
    if mix.label.exponent != 1 or mix.label.lam != "realised":
        raise ValueError(f"label.exponent and label.lam have no effect with content '{mix.content}': labels stay")
    if mix.pairing.kind != "permute":
        raise ValueError(f"pairing.kind is '{mix.pairing.kind}', but with content '{mix.content}' nobody has a partner")
    if mix.granularity == "pair":
        raise ValueError(f"granularity is 'pair', but with content '{mix.content}' nobody has a partner")
    needs = mix.mask.looks_at or mix.position.looks_at
    if needs:
        raise ValueError(
            f"content is '{mix.content}', but the policy looks at the partners' {needs}, and nobody has a partner"
        )


def _check_alternate(mix: Mix, second: Mix) -> None:
    if second.alternate is not None:
        raise ValueError("alternate.mix.alternate is set, but two policies alternate, not three")
    if second.layer != mix.layer:
        raise ValueError(
            f"layer is {mix.layer} and alternate.mix.layer is {second.layer}: both policies must mix at the same"
        )
    if second.label.smoothing != mix.label.smoothing:
        raise ValueError(
            f"label.smoothing is {mix.label.smoothing} and alternate.mix.label.smoothing is {second.label.smoothing}: "
            "targets are smoothed once, for all samples alike: give both the same"
        )
