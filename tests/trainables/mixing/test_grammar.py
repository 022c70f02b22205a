"""Which combinations of parts have a meaning; the others are refused with the reason."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainables.errors import UserError
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_layer, draw_mix
from trainables.mixing.masks import FAMILIES
from trainables.mixing.masks.division import Division
from trainables.mixing.pairing import Pairing
from trainables.mixing.position import RULES
from trainables.mixing.saliency import stand_in_maps
from trainables.strict import parse

PAIRINGS = [kind.model_fields["kind"].default for kind in get_args(get_args(Pairing)[0])]
CONTENTS = ("partner", "zero", "noise")
SOURCES = ("same", "displaced", "resized", "region")
GRANULARITIES = ("sample", "pair", "batch")


def refusal(parts: dict[str, Any]) -> str:
    """Return why a policy is refused, in one line; empty if it is not."""
    try:
        parse(Mix, parts, where="mix")
    except UserError as error:
        return str(error)
    return ""


def combinations(family: str) -> Iterator[dict[str, Any]]:
    for position, content, source, granularity, pairing in itertools.product(
        RULES, CONTENTS, SOURCES, GRANULARITIES, PAIRINGS
    ):
        yield {
            "partners": {"count": FAMILIES[family].n_partners or 1},
            "mask": {"family": family},
            "position": {"kind": position},
            "content": content,
            "source": source,
            "granularity": granularity,
            "pairing": {"kind": pairing},
        }


def has_meaning(parts: dict[str, Any]) -> bool:
    """Return whether a policy makes sense, written independently of the product's checks."""
    family, rule = FAMILIES[parts["mask"]["family"]], RULES[parts["position"]["kind"]]
    sees = family.needs or rule.needs
    partner = parts["content"] == "partner"
    placed = parts["position"]["kind"] != "whole" or issubclass(family, Division)
    several = parts["partners"]["count"] > 1
    return (
        (not several or (partner and parts["pairing"]["kind"] != "flip"))
        and parts["position"]["kind"] in family.positions
        and (partner or (parts["pairing"]["kind"] == "permute" and parts["granularity"] != "pair" and not sees))
        and (parts["granularity"] != "pair" or parts["pairing"]["kind"] == "flip")
        and (parts["granularity"] == "sample" or not sees)
        and (parts["source"] == "same" or (partner and placed))
        and (parts["source"] not in ("resized", "region") or (family.framed and not rule.wraps))
        and (parts["source"] != "region" or not (rule.needs or several or issubclass(family, Division)))
    )


def view_of(count: int, height_px: int, width_px: int) -> BatchView:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((count, 3, height_px, width_px), dtype=np.float32))
    boxes = np.tile([[1, 2, height_px - 1, width_px - 2]], (count, 1))
    return BatchView((count, 3, height_px, width_px), np.arange(count) % 2, images, boxes, stand_in_maps(images))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_combination_works_or_is_refused_with_a_reason(family: str) -> None:
    view = view_of(3, 8, 12)
    assert view.images is not None
    working = 0
    for parts in combinations(family):
        why = refusal(parts)
        assert (not why) == has_meaning(parts), f"{parts}: {why or 'accepted'}"
        if why:
            assert why.startswith("mix: ")
            continue
        working += 1
        drawn = draw_mix(Mix.model_validate(parts), view, rng=np.random.default_rng(0), device=torch.device("cpu"))
        assert mix_images(view.images, drawn).isfinite().all(), parts
        targets = mix_targets(torch.from_numpy(view.labels), drawn, n_classes=2)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(3))
    assert working > 0


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_names_placing_rules_that_there_are(family: str) -> None:
    positions = FAMILIES[family].positions
    assert positions
    assert set(positions) <= set(RULES)
    assert len(set(positions)) == len(positions)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"mask": {"family": "flat"}}, ["position.kind is 'clip'", "mask.family 'flat'", "valid: whole"]),
        ({"position": {"kind": "whole"}}, ["position.kind is 'whole'", "mask.family 'box'", "valid: clip, gauss"]),
        (
            {"mask": {"family": "box", "count": 3}, "position": {"kind": "saliency"}},
            ["mask.count is 3", "'saliency'", "same centre", "valid: clip, inside, torus, spill, gauss"],
        ),
        ({"mask": {"family": "box", "count": 2}, "position": {"kind": "object"}}, ["mask.count is 2", "'object'"]),
        (
            {"mask": {"family": "quadrants"}, "position": {"kind": "whole"}, "partners": {"count": 2}},
            ["partners.count is 2", "'quadrants' shows 4 images", "use partners.count 3"],
        ),
        ({"partners": {"alpha": 2.0}}, ["partners.alpha is 2.0", "one partner gets all", "leave it out"]),
        (
            {"preset": "ricap", "partners": {"alpha": 2.0}},
            ["partners.alpha is 2.0", "'quadrants' divides by size alone", "leave it out"],
        ),
        (
            {"preset": "cutout", "partners": {"count": 2}},
            ["partners.count is 2", "content 'zero' uses no partner image", "leave partners out"],
        ),
        (
            {"partners": {"count": 2}, "pairing": {"kind": "flip"}},
            ["partners.count is 2", "pairing.kind 'flip'", "one partner only", "permute or roll"],
        ),
        (
            {"source": "displaced", "content": "zero"},
            ["source is 'displaced'", "content 'zero' uses no partner image", "leave it out"],
        ),
        (
            {"preset": "mixup", "source": "displaced"},
            ["source is 'displaced'", "family 'flat' covers the whole image", "use source 'same'"],
        ),
        (
            {"source": "resized", "position": {"kind": "torus"}},
            ["source is 'resized'", "position.kind 'torus'", "other than 'torus'"],
        ),
        (
            {"source": "resized", "mask": {"family": "box", "count": 2}},
            ["source is 'resized'", "count 2", "one bounding box", "these families: box"],
        ),
        (
            {"source": "region", "mask": {"family": "grid"}, "position": {"kind": "torus"}},
            ["source is 'region'", "one bounding box"],
        ),
        (
            {"source": "region", "position": {"kind": "saliency"}},
            ["source is 'region'", "position.kind 'saliency' depends on the partner", "clip, inside, spill or gauss"],
        ),
        ({"source": "region", "partners": {"count": 2}}, ["source is 'region'", "more than one patch"]),
        (
            {"label": {"by": "class_map", "exponent": 0.0}},
            ["label.exponent is 0.0", "no effect with label.by 'class_map'", "leave them out"],
        ),
        ({"label": {"by": "class_map"}, "partners": {"count": 2}}, ["label.by is 'class_map'", "one partner"]),
        ({"label": {"by": "class_map"}, "content": "zero"}, ["label.by is 'class_map'", "no effect", "'zero'"]),
        ({"label": {"by": "class_map"}, "layer": 1}, ["layer is 1", "partners' maps", "use layer 0"]),
        (
            {"preset": "attentivemix", "granularity": "batch"},
            ["granularity is 'batch'", "maps of the sample's own partner"],
        ),
        ({"preset": "puzzlemix_no_transport", "content": "noise"}, ["needs the partners' maps", "content 'noise'"]),
        ({"granularity": "pair"}, ["granularity is 'pair'", "pairing.kind 'permute'", "use pairing.kind 'flip'"]),
        (
            {"granularity": "batch", "position": {"kind": "saliency"}},
            ["granularity is 'batch'", "images of the sample's own partner", "use granularity 'sample'"],
        ),
        (
            {"granularity": "pair", "pairing": {"kind": "flip"}, "position": {"kind": "object"}},
            ["granularity is 'pair'", "boxes of the sample's own partner"],
        ),
        (
            {"content": "zero", "label": {"exponent": 0.0}},
            ["label.exponent is 0.0", "no effect with content 'zero'", "leave them out"],
        ),
        (
            {"content": "noise", "label": {"lam": "nominal"}},
            ["label.lam is 'nominal'", "no effect with content 'noise'"],
        ),
        (
            {"content": "zero", "pairing": {"kind": "derange"}},
            ["pairing.kind is 'derange'", "content 'zero' uses no partner image", "leave it out"],
        ),
        (
            {"content": "noise", "position": {"kind": "saliency"}},
            ["position.kind 'saliency' needs the partners' images", "content 'noise' uses no partner image"],
        ),
        ({"layer": 1, "position": {"kind": "saliency"}}, ["layer is 1", "partners' images", "use layer 0"]),
        ({"layer": [0, 2], "position": {"kind": "object"}}, ["layer is [0, 2]", "boxes", "use layer 0"]),
        ({"layer": [0, 1, 0]}, ["layer is [0, 1, 0]", "only once"]),
        ({"alternate": {"mix": {"alternate": {"mix": "mixup"}}}}, ["alternate.mix.alternate", "only two policies"]),
        ({"alternate": {"mix": {"preset": "mixup", "layer": 1}}}, ["layer is 0 and alternate.mix.layer is 1"]),
        (
            {"label": {"smoothing": 0.1}, "alternate": {"mix": {"preset": "mixup", "label": {"smoothing": 0.0}}}},
            ["label.smoothing is 0.1 and alternate.mix.label.smoothing is 0.0", "smoothed once", "same value"],
        ),
        (
            {"layer": 2, "alternate": {"mix": {"position": {"kind": "saliency"}, "layer": 2}}},
            ["layer is 2", "partners' images"],
        ),
        (
            {"mask": {"family": "box", "whole_px": True, "edge_px": 1.0}},
            ["whole_px is true", "edge_px is 1.0", "leave one of them out"],
        ),
        ({"layer": -1}, ["layer", "greater than or equal to 0"]),
        ({"layer": []}, ["layer", "at least 1 item"]),
        ({"apply": {"prob": 1.1}}, ["apply.prob", "less than or equal to 1", "1.1"]),
        ({"alternate": {"mix": "mixup", "prob": -0.1}}, ["alternate.prob", "greater than or equal to 0"]),
        ({"sorce": "same"}, ["unknown key 'sorce'", "did you mean 'source'"]),
        ({"mask": {"family": "bix"}}, ["'mask.family' is unknown: 'bix'", "did you mean 'box'"]),
        (
            {"apply": {"schedule": {"ramp_up_start": 0.6, "ramp_up_end": 0.4}}},
            ["apply.schedule", "ramp_up_start <= ramp_up_end <= ramp_down_start <= ramp_down_end"],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_nonsense_is_refused(parts: dict[str, Any], words: list[str]) -> None:
    why = refusal(parts)
    for word in words:
        assert word in why


@pytest.mark.parametrize(
    "parts",
    [
        {"content": "zero", "label": {"smoothing": 0.1}},
        {"content": "noise", "granularity": "batch"},
        {"granularity": "pair", "pairing": {"kind": "flip"}, "source": "displaced"},
        {"mask": {"family": "box", "count": 3}, "position": {"kind": "gauss"}, "source": "displaced"},
        {"layer": [0, 1, 3], "preset": "mixup"},
        {"layer": 4},
        {"alternate": {"mix": "off"}},
        {"preset": "off", "alternate": {"mix": "mixup", "gate": "sample", "prob": 1.0}},
        {"label": {"smoothing": 0.1}, "alternate": {"mix": {"preset": "mixup", "label": {"smoothing": 0.1}}}},
    ],
    ids=str,
)
def test_what_has_a_meaning_is_kept(parts: dict[str, Any]) -> None:
    mix = Mix.model_validate(parts)
    assert Mix.model_validate_json(mix.model_dump_json()) == mix


def test_no_part_is_coerced() -> None:
    for parts in (
        {"layer": 1.0},
        {"layer": "0"},
        {"apply": {"prob": "0.5"}},
        {"mask": {"family": "box", "count": 2.0}},
    ):
        with pytest.raises(ValidationError):
            Mix.model_validate(parts)


def test_what_a_policy_needs() -> None:
    assert Mix().needs == frozenset()
    assert Mix.model_validate({"position": {"kind": "saliency"}}).needs == {"images"}
    second = {"position": {"kind": "object"}}
    assert Mix.model_validate({"alternate": {"mix": second}}).needs == {"boxes"}
    both = {"position": {"kind": "saliency"}, "alternate": {"mix": second}}
    assert Mix.model_validate(both).needs == {"images", "boxes"}
    two = Mix.model_validate({"preset": "attentivemix", "alternate": {"mix": "snapmix"}})
    assert (two.needs, two.map_kinds) == ({"maps"}, {"attention", "cam"})


def test_layers_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    mix = Mix.model_validate({"preset": "mixup", "layer": [0, 2, 3]})
    layers, times = np.unique([draw_layer(mix, rng) for _ in range(6000)], return_counts=True)
    assert layers.tolist() == [0, 2, 3]
    np.testing.assert_allclose(times / 6000, 1 / 3, atol=0.03)  # SD 0.006
    state = rng.bit_generator.state
    assert draw_layer(Mix.model_validate({"layer": 2}), rng) == 2
    assert rng.bit_generator.state == state  # nothing drawn


# ---------------------------------------------------------------- two policies


BOX = {"size": {"kind": "fixed", "frac": 0.25}, "position": {"kind": "inside"}}
BLEND = {"preset": "mixup", "size": {"kind": "fixed", "frac": 0.375}}


def flags(mix: Mix, batches: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which samples the first and the second policy mixed, bool [batches, B] each, from their lam."""
    rng, device = np.random.default_rng(0), torch.device("cpu")
    lam = np.stack([draw_mix(mix, view_of(count, 8, 8), rng=rng, device=device).lam_nominal for _ in range(batches)])
    return lam == 0.75, lam == 0.625


@pytest.mark.parametrize("gate", ["sample", "batch"])
def test_how_often_each_policy_mixes(gate: str) -> None:
    mix = Mix.model_validate(
        {
            **BOX,
            "apply": {"prob": 0.8},
            "alternate": {"prob": 0.3, "gate": gate, "mix": {**BLEND, "apply": {"prob": 0.5}}},
        }
    )
    first, second = flags(mix, 400, 20)
    assert first.mean() == pytest.approx(0.7 * 0.8, abs=0.08 if gate == "batch" else 0.03)
    assert second.mean() == pytest.approx(0.3 * 0.5, abs=0.08 if gate == "batch" else 0.03)
    both = first.any(axis=1) & second.any(axis=1)
    assert both.mean() > 0.8 if gate == "sample" else not both.any()


def test_partners_share_a_policy_where_they_share_a_mask() -> None:
    shared = {"granularity": "pair", "pairing": {"kind": "flip"}}
    for first, second in ((BOX | shared, BLEND | shared), (BOX | shared, BLEND), (BOX, BLEND | shared)):
        mix = Mix.model_validate({**first, "alternate": {"gate": "sample", "mix": second}})
        for flag in flags(mix, 60, 7):
            assert (flag == flag[:, ::-1]).all()
            assert 0.3 < flag.mean() < 0.7
            assert len(np.unique(flag, axis=0)) > 8


def test_the_second_policy_at_the_ends_of_its_chance() -> None:
    for prob, expected in ((0.0, 0.75), (1.0, 0.625)):
        mix = Mix.model_validate({**BOX, "alternate": {"prob": prob, "gate": "sample", "mix": BLEND}})
        first, second = flags(mix, 5, 7)
        assert (first if expected == 0.75 else second).all()
