"""The mixing policy: independent parts, each with its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.errors import did_you_mean
from trainables.merging import merged
from trainables.mixing.batch_view import MapKind
from trainables.mixing.labels import Label
from trainables.mixing.masks import FAMILIES, AnyMask
from trainables.mixing.masks.box import Box
from trainables.mixing.masks.division import Division
from trainables.mixing.pairing import Pairing, PermutePairing
from trainables.mixing.partners import Partners
from trainables.mixing.position import RULES, ClipPosition, Position
from trainables.mixing.presets import expand_preset
from trainables.mixing.schedule import Trapezoid
from trainables.mixing.size import BetaSize, Size
from trainables.strict import Frozen

Layer = Annotated[int, Field(ge=0)]


def _is_one(value: object) -> bool:
    return value == Partners()


class Apply(Frozen):
    """When a sample is mixed.

    Attributes:
        prob: probability that a sample is mixed while the schedule's factor is 1.
        gate: whether one random draw decides for each ``sample`` or for the whole ``batch`` (the paper's code).
        schedule: factor on ``prob`` over the planned steps.

    Examples:
        >>> apply = Apply(prob=0.5, schedule=Trapezoid(ramp_up_end=1.0))
        >>> apply.prob_at(0.5), apply.mean_prob
        (0.25, 0.25)
    """

    prob: float = Field(default=1.0, ge=0, le=1)
    gate: Literal["sample", "batch"] = "sample"
    schedule: Trapezoid = Trapezoid()

    def prob_at(self, t: float) -> float:
        """Return the probability that a sample is mixed when the fraction ``t`` of the planned steps is done."""
        return self.prob * self.schedule.factor(t)

    @property
    def mean_prob(self) -> float:
        """Mean probability that a sample is mixed, over the planned steps."""
        return self.prob * self.schedule.mean


class Mix(Frozen):
    """A mixing policy: how much is pasted (size), in which shape (mask), where (position) and from what (content).

    A string, or the key ``preset``, starts from a named policy. Further keys change parts of it.

    Attributes:
        mask: family of the mask and its parameters.
        size: distribution of the pasted fraction.
        position: how a shape is placed in the image.
        source: which patch of the partner is pasted: at the ``same`` place; ``displaced``, a patch of the same shape,
            uniform among the patches inside the image (any shift if masks wrap around); the whole partner, ``resized``
            to the mask's bounding box; or a ``region``, a box of its own size and place, by the same rules, resized to
            the mask's bounding box. Families that divide the image also move the original.
        partners: how many images are pasted into each image, and how they divide the pasted fraction.
        pairing: which image is a partner.
        granularity: whether each ``sample`` has its own size and mask, both partners of a ``pair`` share them (timm),
            or all samples of a ``batch`` share them (the paper's code, torchvision).
        content: what is pasted: the ``partner``, ``zero`` (after normalisation, so the mean colour) or ``noise``
            (standard normal per channel). Only a partner changes the label.
        label: from the fraction of pixels to the fraction of the label.
        apply: probability, gate and schedule.
        layer: what is mixed: 0 the images, k the maps after the network's k-th stage. If a list is given, one layer is
            drawn per batch (Manifold Mixup).
        alternate: a second policy that replaces this one at random.

    Examples:
        >>> mix = Mix.model_validate({"preset": "cutmix", "position": {"kind": "torus"}})
        >>> mix.mask.family, mix.position.kind, mix.apply.prob
        ('box', 'torus', 0.5)
        >>> Mix.model_validate("saliencymix").needs
        frozenset({'images'})
        >>> from trainables.strict import parse
        >>> parse(Mix, {"preset": "cutmix", "position": {"kind": "hole"}}, where="mix")
        Traceback (most recent call last):
        trainables.errors.UserError: mix: 'position.kind' is unknown: 'hole'; did you mean 'whole'? valid: clip, ...
    """

    mask: AnyMask = Box()
    size: Size = BetaSize()
    position: Position = ClipPosition()
    source: Literal["same", "displaced", "resized", "region"] = "same"
    # left out of the dump with its default: what older versions recorded stays equal
    partners: Partners = Field(default=Partners(), exclude_if=_is_one)
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
        return _with_same_smoothing(expand_preset(values)) if isinstance(values, (str, Mapping)) else values

    @model_validator(mode="after")
    def _makes_sense(self) -> Mix:
        check_policy(self)
        return self

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers at which a batch may be mixed."""
        return (self.layer,) if isinstance(self.layer, int) else self.layer

    @property
    def policies(self) -> tuple[Mix, ...]:
        """This policy and, if there is one, the policy that may replace it."""
        return (self,) if self.alternate is None else (self, self.alternate.mix)

    @property
    def moves_original(self) -> bool:
        """Whether the original is pasted too, displaced or resized, into its part of a divided image."""
        return self.source != "same" and isinstance(self.mask, Division)

    @property
    def n_pastes(self) -> int:
        """Number of pastes per sample: its partners, and the original if it is moved."""
        return self.partners.count + self.moves_original

    @property
    def needs(self) -> frozenset[str]:
        """What a draw must know of the partners: ``images``, ``boxes``, ``maps`` of the network, or nothing."""
        needs = (need for policy in self.policies for need in (policy.mask.needs, policy.position.needs))
        maps = {"maps" for policy in self.policies if policy.label.by == "class_map"}
        return frozenset(need for need in needs if need) | maps

    @property
    def map_kinds(self) -> frozenset[MapKind]:
        """Kinds of maps of the network that a draw needs; each costs a pass of the network per step."""
        mixing = [policy for policy in self.policies if policy.apply.prob > 0]
        masks = {policy.mask.maps for policy in mixing if policy.mask.needs == "maps"}  # type: ignore[attr-defined]
        labels: set[MapKind] = {"cam" for policy in mixing if policy.label.by == "class_map"}
        return frozenset(masks | labels)


class Alternate(Frozen):
    """A second policy that replaces the first one at random, for example Mixup or CutMix per batch.

    Attributes:
        prob: probability that it replaces the first policy; its own ``apply`` then decides whether it mixes.
        gate: whether each ``sample`` or the whole ``batch`` switches policy.
        mix: the second policy.

    Examples:
        >>> mix = Mix.model_validate({"preset": "mixup", "alternate": {"prob": 0.5, "mix": "cutmix"}})
        >>> [policy.mask.family for policy in mix.policies]
        ['flat', 'box']
    """

    prob: float = Field(default=0.5, ge=0, le=1)
    gate: Literal["sample", "batch"] = "batch"
    mix: Mix


Mix.model_rebuild()


def _with_same_smoothing(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the first policy's smoothing in the second one, unless the second one states its own.

    Targets are smoothed once per batch, so both policies must have the same smoothing.
    """
    label, alternate = values.get("label"), values.get("alternate")
    if not (isinstance(label, Mapping) and "smoothing" in label and isinstance(alternate, Mapping)):
        return values
    if not isinstance(alternate.get("mix"), (str, Mapping)):
        return values
    second = merged({"label": {"smoothing": label["smoothing"]}}, expand_preset(alternate["mix"]))
    return values | {"alternate": {**alternate, "mix": second}}


def check_policy(mix: Mix) -> None:
    """Check that the parts of a policy make sense together and that each stated part has an effect.

    Raises:
        ValueError: names the parts, their values, the reason and the valid values.
    """
    family, position = mix.mask.family, mix.position.kind
    if position not in mix.mask.positions:
        raise ValueError(
            f"position.kind is '{position}', but mask.family '{family}' does not support this rule"
            f"{did_you_mean(position, mix.mask.positions)}"
        )
    if _count(mix) > 1 and mix.position.needs:
        valid = ", ".join(kind for kind in mix.mask.positions if RULES[kind].needs is None)
        raise ValueError(
            f"mask.count is {_count(mix)}, but position.kind '{position}' gives all shapes of a sample the same centre:"
            f" use mask.count 1 or another position.kind; valid: {valid}"
        )
    _check_partners(mix)
    _check_source(mix)
    _check_granularity(mix)
    _check_label(mix)
    if mix.content != "partner":
        _check_content(mix)
    if mix.needs and max(mix.layers) > 0:
        raise ValueError(
            f"layer is {_shown(mix.layer)}, but the policy needs the partners' {' and '.join(sorted(mix.needs))}, "
            "which exist only at layer 0: use layer 0"
        )
    if len(set(mix.layers)) < len(mix.layers):
        raise ValueError(f"layer is {_shown(mix.layer)}, but each layer may be listed only once")
    if mix.alternate is not None:
        _check_alternate(mix, mix.alternate.mix)


def _count(mix: Mix) -> int:
    """Return the number of shapes per mask; 1 for families without this parameter."""
    return int(getattr(mix.mask, "count", 1))


def _shown(layer: int | tuple[int, ...]) -> int | list[int]:
    """Return ``layer`` as it is written in a study file."""
    return layer if isinstance(layer, int) else list(layer)


def _check_partners(mix: Mix) -> None:
    count, needed = mix.partners.count, mix.mask.n_partners
    if needed is not None and count != needed:
        raise ValueError(
            f"partners.count is {count}, but mask.family '{mix.mask.family}' shows {needed + 1} images: use "
            f"partners.count {needed}"
        )
    if mix.partners.alpha is not None and (count == 1 or needed is not None):
        reason = "one partner gets all" if count == 1 else f"mask.family '{mix.mask.family}' divides by size alone"
        raise ValueError(f"partners.alpha is {mix.partners.alpha}, but {reason}: leave it out")
    if count > 1 and mix.content != "partner":
        raise ValueError(
            f"partners.count is {count}, but content '{mix.content}' uses no partner image: leave partners out"
        )
    if count > 1 and mix.pairing.kind == "flip":
        raise ValueError(
            f"partners.count is {count}, but pairing.kind 'flip' gives each sample one partner only: use another "
            "pairing.kind, for example permute or roll"
        )


def _check_source(mix: Mix) -> None:
    if mix.source == "same":
        return
    if mix.content != "partner":
        raise ValueError(
            f"source is '{mix.source}', but content '{mix.content}' uses no partner image, so source has no effect: "
            "leave it out"
        )
    if mix.position.kind == "whole" and not isinstance(mix.mask, Division):
        raise ValueError(
            f"source is '{mix.source}', but mask.family '{mix.mask.family}' covers the whole image: use source 'same'"
        )
    if mix.source in ("resized", "region") and (not mix.mask.framed or mix.position.wraps or _count(mix) > 1):
        framed = ", ".join(name for name, family in FAMILIES.items() if family.framed)
        wrapping = " or ".join(f"'{kind}'" for kind, rule in RULES.items() if rule.wraps)
        raise ValueError(
            f"source is '{mix.source}', but a mask of family '{mix.mask.family}', count {_count(mix)} and position.kind"
            f" '{mix.position.kind}' does not have one bounding box to fill: use mask.count 1, a position.kind other "
            f"than {wrapping}, and one of these families: {framed}"
        )

    if mix.source != "region":
        return
    if mix.position.needs:
        raise ValueError(
            f"source is 'region', but position.kind '{mix.position.kind}' depends on the partner, and a region has a "
            "place of its own: use position.kind clip, inside, spill or gauss"
        )
    if mix.partners.count > 1 or isinstance(mix.mask, Division):
        raise ValueError(
            f"source is 'region', but mask.family '{mix.mask.family}' with partners.count {mix.partners.count} shows "
            "more than one patch: use source 'resized'"
        )


def _check_label(mix: Mix) -> None:
    label = mix.label
    if label.by == "area":
        return
    if label.exponent != 1 or label.lam != "realised":
        raise ValueError(
            f"label.exponent is {label.exponent} and label.lam is '{label.lam}', but they have no effect with label.by "
            f"'{label.by}': leave them out"
        )
    if mix.partners.count > 1 or mix.moves_original:
        raise ValueError(
            f"label.by is '{label.by}', but it is defined for one partner and an original that stays in place, and "
            f"partners.count is {mix.partners.count} with mask.family '{mix.mask.family}': use label.by 'area'"
        )


def _check_granularity(mix: Mix) -> None:
    if mix.granularity == "pair" and mix.pairing.kind != "flip":
        raise ValueError(
            f"granularity is 'pair', but with pairing.kind '{mix.pairing.kind}' the partner of a partner is another "
            "sample: use pairing.kind 'flip'"
        )
    needs = mix.mask.needs or mix.position.needs
    if mix.granularity != "sample" and needs:
        raise ValueError(
            f"granularity is '{mix.granularity}', but each mask depends on the {needs} of the sample's own partner: "
            "use granularity 'sample'"
        )


def _check_content(mix: Mix) -> None:
    unused = f"content '{mix.content}' uses no partner image"
    if mix.label.by != "area":
        raise ValueError(
            f"label.by is '{mix.label.by}', but it has no effect with content '{mix.content}', which keeps the label: "
            "leave it out"
        )
    if mix.label.exponent != 1 or mix.label.lam != "realised":
        raise ValueError(
            f"label.exponent is {mix.label.exponent} and label.lam is '{mix.label.lam}', but they have no effect with "
            f"content '{mix.content}', which keeps the label: leave them out"
        )
    if mix.pairing.kind != "permute":
        raise ValueError(
            f"pairing.kind is '{mix.pairing.kind}', but {unused}, so pairing.kind has no effect: leave it out"
        )
    if mix.granularity == "pair":
        raise ValueError(f"granularity is 'pair', but {unused}: use granularity 'sample' or 'batch'")
    needs = mix.mask.needs or mix.position.needs
    if needs:
        part = f"mask.family '{mix.mask.family}'" if mix.mask.needs else f"position.kind '{mix.position.kind}'"
        raise ValueError(f"{part} needs the partners' {needs}, but {unused}: use content 'partner'")


def _check_alternate(mix: Mix, second: Mix) -> None:
    if second.alternate is not None:
        raise ValueError("alternate.mix.alternate is set, but only two policies can alternate: leave it out")
    if second.layer != mix.layer:
        raise ValueError(
            f"layer is {_shown(mix.layer)} and alternate.mix.layer is {_shown(second.layer)}, but both policies must "
            "mix at the same layer"
        )
    if second.label.smoothing != mix.label.smoothing:
        raise ValueError(
            f"label.smoothing is {mix.label.smoothing} and alternate.mix.label.smoothing is {second.label.smoothing}, "
            "but targets are smoothed once per batch: give both the same value"
        )
