"""What each arm of a study does to real images, on one sheet."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.budget import Budget
from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Arm, Study
from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.errors import UserError, did_you_mean
from trainables.mixing.config import Mix
from trainables.mixing.presets import PRESETS
from trainables.mixing.size import FixedSize, Size, UniformSize
from trainables.seeds import generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trainables.data.image_set import ImageSet
    from trainables.mixing.draw import MixDraw

TILE_IN = 1.3
"""Side of a tile, inches."""
CAPTION_IN = 0.46
"""Room below a tile for two lines of label."""
MARGIN_IN = 2.3
"""Room left of the tiles for the arm's name and policy."""
TITLE_IN = 0.52
"""Room above the tiles for two lines."""
DPI = 110
LONGEST_CLASS = 13
"""Characters of a class's name that fit below a tile beside its weight."""


@dataclass(frozen=True, eq=False)
class ArmPreview:
    """One row of the sheet.

    Attributes:
        arm: name of the arm.
        words: its policy in a few lines.
        images: mixed images, uint8 [n, H, W, 3].
        captions: the label of each, the larger share first.
        coverage: chance of each pixel to be foreign in a sample that is mixed, float [H, W].
    """

    arm: str
    words: tuple[str, ...]
    images: np.ndarray
    captions: tuple[str, ...]
    coverage: np.ndarray


@dataclass(frozen=True, eq=False)
class Preview:
    """The sheet's content.

    Attributes:
        title: name of the study or preset.
        originals: the images before, uint8 [n, H, W, 3].
        captions: their classes.
        arms: a row each.
    """

    title: str
    originals: np.ndarray
    captions: tuple[str, ...]
    arms: tuple[ArmPreview, ...]


def load_previewed(name: str, *, scale: str | None = None, settings: Sequence[str]) -> Study:
    """Return the study that ``name`` stands for: a built-in one, a file's, or one made of a single preset.

    Raises:
        UserError: there is neither such a study nor such a preset, or a preset is to have a scale.
    """
    is_file = Path(name).suffix in (".yaml", ".yml") or "/" in name
    if is_file or name in built_in_studies():
        return load_study(name, scale=scale, settings=settings)
    if name not in PRESETS:
        known = [*built_in_studies(), *PRESETS]
        raise UserError(f"unknown study or preset '{name}'{did_you_mean(name, known)}, or a .yaml file's path")
    if scale is not None:
        raise UserError(f"--scale '{scale}': '{name}' is a preset, and scales are those of a study")
    return _study_of_preset(name, settings)


def preview_info(study: Study, *, n_samples: int) -> Preview:
    """Mix a few training images of different classes by every arm; the same images in all of them.

    An arm whose space varies parameters shows its first draw. Every sample is mixed, whatever the probability: what
    an arm does when it does nothing needs no picture.

    Raises:
        UserError: the data source cannot be used.
    """
    configs = {arm: study.trial_config(arm, study.draw(arm, 0), replicate=0) for arm in study.arms}
    images = prepare_data(next(iter(configs.values())).data).images
    rows = _rows_of_different_classes(images, n_samples, study.seed)
    return Preview(
        title=f"{study.name}: {study.question}",
        originals=images.images[rows],
        captions=tuple(_short(images.classes[label]) for label in images.labels[rows]),
        arms=tuple(_arm_preview(arm, config, images, rows, study.seed) for arm, config in configs.items()),
    )


def draw_preview(info: Preview) -> Figure:
    """Lay the sheet out: a row of originals, then a row an arm, with the coverage map at its end."""
    from matplotlib.figure import Figure

    n_columns, n_rows = len(info.originals) + 1, len(info.arms) + 1
    width_in = MARGIN_IN + n_columns * (TILE_IN + 0.08) + 0.55
    height_in = TITLE_IN + n_rows * (TILE_IN + CAPTION_IN)
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    figure.subplots_adjust(
        left=MARGIN_IN / width_in,
        right=1 - 0.55 / width_in,
        top=1 - TITLE_IN / height_in,
        bottom=(CAPTION_IN + 0.02) / height_in,
        wspace=0.06,
        hspace=CAPTION_IN / TILE_IN,
    )
    title = textwrap.fill(info.title, int(9.5 * width_in), max_lines=2, placeholder=" …")
    figure.text(0.012, 1 - 0.08 / height_in, title, fontsize=11, fontweight="bold", ha="left", va="top")
    _row_name(axes[0, 0], "before", ())
    for ax, image, caption in zip(axes[0], info.originals, info.captions, strict=False):
        _tile(ax, image, caption)
    axes[0, -1].axis("off")
    for row, arm in zip(axes[1:], info.arms, strict=True):
        _row_name(row[0], arm.arm, arm.words)
        for ax, image, caption in zip(row, arm.images, arm.captions, strict=False):
            _tile(ax, image, caption)
        _coverage_tile(row[-1], arm.coverage)
    return figure


def write_preview(study: Study, path: Path, *, n_samples: int) -> None:
    """Draw the sheet of a study and write it as a PNG, whole or not at all.

    Raises:
        UserError: the file is to have another type, its folder is missing, or the data source cannot be used.
    """
    if path.suffix != ".png":
        raise UserError(f"--out: '{path}' must end in .png")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out: there is no folder '{path.absolute().parent}'")
    picture = io.BytesIO()
    draw_preview(preview_info(study, n_samples=n_samples)).savefig(picture, format="png")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_bytes(picture.getvalue())
    unfinished.replace(path)


def _study_of_preset(name: str, settings: Sequence[str]) -> Study:
    from search_spaces.check import check_study
    from search_spaces.discover import parse_setting
    from trainables.merging import merged
    from trainables.strict import parse

    doc = (PRESETS[name].__doc__ or "").strip().splitlines()[0]
    values: dict[str, Any] = Study(
        name=name,
        question=doc,
        arms={name: Arm(mix=name)},
        budget=Budget(trials=1, max_epochs=1),
    ).model_dump()
    for setting in settings:
        values = merged(values, parse_setting(setting))
    study = parse(Study, values, where=f"preset '{name}'")
    check_study(study)
    return study


def _rows_of_different_classes(images: ImageSet, count: int, seed: int) -> np.ndarray:
    """Choose images, int64 [count], of as many classes as there are."""
    order = generator(seed, "preview").permutation(len(images))
    _, first = np.unique(images.labels[order], return_index=True)
    chosen = order[np.sort(first)][:count]
    more = np.setdiff1d(order[: 2 * count], chosen)[: count - len(chosen)]
    return np.concatenate([chosen, more])


def _arm_preview(arm: str, config: TrialConfig, images: ImageSet, rows: np.ndarray, seed: int) -> ArmPreview:
    from trainables.mixing.dose import measure_dose

    mix = _always(config.mix)
    mixed, draw = _mixed(mix, images, rows, seed)
    height_px, width_px = images.images.shape[1:3]
    classes = [images.classes[label] for label in images.labels[rows]]
    return ArmPreview(
        arm=arm,
        words=describe_mix(config.mix),
        images=mixed,
        captions=tuple(
            _caption(classes[index], classes[partner], weight)
            for index, (partner, weight) in enumerate(zip(draw.partner.tolist(), draw.weight.tolist(), strict=True))
        ),
        coverage=measure_dose(mix, height_px=height_px, width_px=width_px, data=images).coverage,
    )


def _always(mix: Mix) -> Mix:
    """Return the policy as it is when it mixes, on images; ``off`` stays what it is."""
    if mix.apply.mean_prob == 0:
        return mix
    alternate = None if mix.alternate is None else mix.alternate.model_copy(update={"mix": _always(mix.alternate.mix)})
    always = mix.apply.model_copy(update={"prob": 1.0, "schedule": type(mix.apply.schedule)()})
    return mix.model_copy(update={"apply": always, "layer": 0, "alternate": alternate})


def _mixed(mix: Mix, images: ImageSet, rows: np.ndarray, seed: int) -> tuple[np.ndarray, MixDraw]:
    """Mix the chosen images, uint8 [n, H, W, 3], by the first draw in which nobody is its own partner."""
    import torch

    from trainables.data.batches import Normalizer
    from trainables.mixing.apply import mix_images
    from trainables.mixing.batch_view import BatchView
    from trainables.mixing.draw import draw_mix

    device = torch.device("cpu")
    pixels = images.images[rows]
    count, height_px, width_px, channels = pixels.shape
    normalize = Normalizer.from_statistics(images.mean, images.std, width_px=width_px, device=device)
    normal = normalize(torch.from_numpy(pixels.copy()))
    boxes = None if images.boxes is None else images.boxes[rows].astype(np.int64)
    view = BatchView((count, channels, height_px, width_px), images.labels[rows], normal, boxes)
    for attempt in range(100):
        draw = draw_mix(mix, view, rng=generator(seed, "preview", attempt), device=device)
        if (draw.partner.numpy() != np.arange(count)).all():
            break
    mixed = mix_images(normal, draw).permute(0, 2, 3, 1).numpy()
    deviation = np.maximum(images.std, 1e-3)
    return (255 * np.clip(mixed * deviation + images.mean, 0, 1)).round().astype(np.uint8), draw


def describe_mix(mix: Mix) -> tuple[str, ...]:
    """Say in a few short lines what a policy does: the mask, the size, and what differs from CutMix."""
    if mix.apply.mean_prob == 0:
        return ("no mixing",)
    words = [_describe_part(mix.mask.model_dump(exclude_defaults=True), str(mix.mask.model_dump()["family"]))]
    words.append(_describe_size(mix.size))
    words.append(f"{mix.position.kind}, prob {mix.apply.prob:.3g}")
    plain = Mix()
    for name in ("source", "granularity", "content", "layer"):
        value = getattr(mix, name)
        if value != getattr(plain, name):
            words.append(f"{name} {list(value) if isinstance(value, tuple) else value}")
    if mix.pairing != plain.pairing:
        words.append(mix.pairing.kind)
    if mix.label.exponent != plain.label.exponent:
        words.append(f"label exponent {mix.label.exponent}")
    if mix.apply.schedule != plain.apply.schedule:
        marks = mix.apply.schedule
        words.append(
            f"on {marks.ramp_up_start:g}-{marks.ramp_up_end:g}, off {marks.ramp_down_start:g}-{marks.ramp_down_end:g}"
        )
    if mix.alternate is not None:
        words.append(f"or {mix.alternate.prob:.3g}: {mix.alternate.mix.mask.model_dump()['family']}")
    return tuple(words)


def _describe_size(size: Size) -> str:
    match size:
        case FixedSize():
            return f"fixed {size.frac:.3g}"
        case UniformSize():
            return f"{size.of} {size.lo:.3g} to {size.hi:.3g}"
    law = f"beta {size.alpha:.3g}" if size.beta is None else f"beta {size.alpha:.3g}, {size.beta:.3g}"
    return law if (size.lo, size.hi) == (0, 1) else f"{law} in {size.lo:.3g} to {size.hi:.3g}"


def _describe_part(parameters: dict[str, Any], name: str) -> str:
    shown = [
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in parameters.items()
        if key not in ("family", "kind")
    ]
    return " ".join([name, *shown])


def _caption(mine: str, theirs: str, weight: float) -> str:
    """Return the label of a mixed image, the original's share first, without what has none."""
    shares = [(weight, mine), (1 - weight, theirs)]
    return "\n".join(f"{share:.2f} {_short(name)}" for share, name in shares if share >= 0.005)


def _short(name: str) -> str:
    first = name.split(",", maxsplit=1)[0]
    return first if len(first) <= LONGEST_CLASS else first[: LONGEST_CLASS - 1] + "…"


def _tile(ax: Axes, image: np.ndarray, caption: str) -> None:
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(caption, fontsize=8, labelpad=2, linespacing=1.05)


def _coverage_tile(ax: Axes, coverage: np.ndarray) -> None:
    shown = ax.imshow(coverage, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    height_px, width_px = coverage.shape
    values = (coverage[height_px // 2, width_px // 2], coverage[0, 0])
    ax.set_xlabel("coverage\ncentre {:.2f}, corner {:.2f}".format(*values), fontsize=7, labelpad=2, linespacing=1.05)
    bar = ax.inset_axes((1.05, 0.0, 0.06, 1.0))
    colours = ax.figure.colorbar(shown, cax=bar, ticks=[0, 0.5, 1])
    colours.ax.tick_params(labelsize=6, length=2, pad=1)


def _row_name(ax: Axes, name: str, words: Sequence[str]) -> None:
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    ax.text(-0.1, 1.0, name, fontsize=10, fontweight="bold", **place)
    ax.text(-0.1, 0.84, "\n".join(words), fontsize=7.5, linespacing=1.25, color="0.25", **place)
