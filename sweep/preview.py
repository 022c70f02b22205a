"""A picture of what each arm of a study does to real images."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.arm import Arm
from search_spaces.budget import Budget
from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Study
from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.errors import UserError, did_you_mean
from trainables.mixing.config import Mix
from trainables.mixing.presets import PRESETS
from trainables.mixing.size import FixedSize, Size, UniformSize
from trainables.seeds import generator
from trainables.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trainables.augment.config import Augment
    from trainables.data.image_set import ImageSet
    from trainables.mixing.pastes import MixDraw

TILE_IN = 1.3
"""Side of an image, inches."""
CAPTION_IN = 0.46
"""Height below an image for two lines of label, inches."""
CAPTION_LINE_IN = 0.14
"""Height of each further line, inches: images of several partners have one line per class."""
MARGIN_IN = 2.3
"""Width left of the images for the arm's name and policy, inches."""
TITLE_IN = 0.52
"""Height above the images for two lines of title, inches."""
DPI = 110
LONGEST_CLASS = 13
"""Characters of a class's name that fit below an image beside its fraction of the label."""


@dataclass(frozen=True, eq=False)
class ArmPreview:
    """The row of one arm.

    Attributes:
        arm: name of the arm.
        policy: its policy in a few lines.
        images: mixed images, uint8 [n, H, W, 3].
        captions: label of each image, the original's fraction first.
        coverage: probability that a pixel of a mixed sample is pasted, float [H, W].
    """

    arm: str
    policy: tuple[str, ...]
    images: np.ndarray
    captions: tuple[str, ...]
    coverage: np.ndarray


@dataclass(frozen=True, eq=False)
class Preview:
    """The content of the picture.

    Attributes:
        title: name and question of the study.
        originals: the images before mixing, uint8 [n, H, W, 3].
        captions: class of each image.
        arms: one row per arm.
    """

    title: str
    originals: np.ndarray
    captions: tuple[str, ...]
    arms: tuple[ArmPreview, ...]


def load_previewed(name: str, *, scale: str | None = None, settings: Sequence[str]) -> Study:
    """Return the study to preview: a built-in study, the study of a file, or a study with one preset as its arm.

    Args:
        name: name of a built-in study or of a preset, or the path of a YAML file.
        scale: scale of the study, if any.
        settings: ``PATH=VALUE`` each.

    Raises:
        UserError: there is no such study or preset, or ``scale`` is given for a preset.

    Examples:
        >>> list(load_previewed("fmix", settings=()).arms)
        ['fmix']
    """
    is_file = Path(name).suffix in (".yaml", ".yml") or "/" in name
    if is_file or name in built_in_studies():
        return load_study(name, scale=scale, settings=settings)
    if name not in PRESETS:
        valid = [*built_in_studies(), *PRESETS]
        raise UserError(f"unknown study or preset '{name}'{did_you_mean(name, valid)}, or the path of a .yaml file")
    if scale is not None:
        raise UserError(f"--scale '{scale}': '{name}' is a preset, and only a study has scales: leave --scale out")
    return _study_of_preset(name, settings)


def preview_info(study: Study, *, n_samples: int) -> Preview:
    """Change and mix the same few training images of different classes as every arm does.

    Flips and the crop of ``data.pad_px`` are left out. A resized crop is cut out of the images as they are evaluated.

    An arm that varies parameters shows its first draw. Every sample is mixed, at any probability: an image that is not
    mixed would show nothing.

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


def plot_preview(info: Preview) -> Figure:
    """Plot a row of original images, then one row per arm that ends with the coverage map."""
    from matplotlib.figure import Figure

    n_columns, n_rows = len(info.originals) + 1, len(info.arms) + 1
    n_lines = max(caption.count("\n") + 1 for arm in info.arms for caption in arm.captions)
    caption_in = CAPTION_IN + CAPTION_LINE_IN * max(n_lines - 2, 0)
    width_in = MARGIN_IN + n_columns * (TILE_IN + 0.08) + 0.55
    height_in = TITLE_IN + n_rows * (TILE_IN + caption_in)
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    figure.subplots_adjust(
        left=MARGIN_IN / width_in,
        right=1 - 0.55 / width_in,
        top=1 - TITLE_IN / height_in,
        bottom=(caption_in + 0.02) / height_in,
        wspace=0.06,
        hspace=caption_in / TILE_IN,
    )
    title = textwrap.fill(info.title, int(9.5 * width_in), max_lines=2, placeholder=" …")
    figure.text(
        0.012, 1 - 0.08 / height_in, title, fontsize=11, fontweight="bold", ha="left", va="top", parse_math=False
    )
    _write_row_name(axes[0, 0], "original images", ())
    for ax, image, caption in zip(axes[0], info.originals, info.captions, strict=False):
        _show_image(ax, image, caption)
    axes[0, -1].axis("off")
    for row, arm in zip(axes[1:], info.arms, strict=True):
        _write_row_name(row[0], arm.arm, arm.policy)
        for ax, image, caption in zip(row, arm.images, arm.captions, strict=False):
            _show_image(ax, image, caption)
        _show_coverage(row[-1], arm.coverage)
    return figure


def write_preview(study: Study, path: Path, *, n_samples: int) -> None:
    """Plot the preview of a study and write it as a PNG, whole or not at all.

    Raises:
        UserError: the file name does not end in .png, its folder is missing, or the data source cannot be used.
    """
    if path.suffix != ".png":
        raise UserError(f"--out: '{path}' must end in .png")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out: there is no folder '{path.absolute().parent}': make it or give another path")
    picture = io.BytesIO()
    plot_preview(preview_info(study, n_samples=n_samples)).savefig(picture, format="png")
    write_whole(path, picture.getvalue())


def _study_of_preset(name: str, settings: Sequence[str]) -> Study:
    """Return a study with the preset as its only arm and the first sentence about the preset as its question."""
    from search_spaces.check import check_study
    from search_spaces.discover import parse_setting
    from trainables.merging import merged
    from trainables.parts import add_folder
    from trainables.strict import parse

    add_folder(Path.cwd())
    question = (PRESETS[name].__doc__ or "").strip().splitlines()[0].replace("``", "")
    values: dict[str, Any] = Study(
        name=name,
        question=question,
        arms={name: Arm(mix=name)},
        budget=Budget(trials=1, max_epochs=1),
    ).model_dump()
    for setting in settings:
        values = merged(values, parse_setting(setting))
    study = parse(Study, values, where=f"preset '{name}'")
    check_study(study)
    return study


def _rows_of_different_classes(images: ImageSet, count: int, seed: int) -> np.ndarray:
    """Choose random images, int64 [count], of as many different classes as possible."""
    order = generator(seed, "preview").permutation(len(images))
    _, first = np.unique(images.labels[order], return_index=True)
    chosen = order[np.sort(first)][:count]
    repeated = np.setdiff1d(order[: 2 * count], chosen)[: count - len(chosen)]
    return np.concatenate([chosen, repeated])


def _arm_preview(arm: str, config: TrialConfig, images: ImageSet, rows: np.ndarray, seed: int) -> ArmPreview:
    from trainables.mixing.dose import measure_dose

    mix = _always_applied(config.mix)
    mixed, draw = _mixed(mix, config.augment, images, rows, seed)
    height_px, width_px = images.images.shape[1:3]
    classes = [images.classes[label] for label in images.labels[rows]]
    return ArmPreview(
        arm=arm,
        policy=(*config.augment.describe(), *describe_mix(config.mix)),
        images=mixed,
        captions=tuple(
            _caption(
                [(weight, classes[index]), *((frac, classes[partner]) for partner, frac in zip(*pasted, strict=True))]
            )
            for index, (weight, *pasted) in enumerate(
                zip(draw.weight.tolist(), draw.partners.T.tolist(), draw.partner_weights.T.tolist(), strict=True)
            )
        ),
        coverage=measure_dose(mix, height_px=height_px, width_px=width_px, data=images).coverage,
    )


def _always_applied(mix: Mix) -> Mix:
    """Return the policy at layer 0 with probability 1; a policy that never mixes stays the same."""
    if mix.apply.mean_prob == 0:
        return mix
    alternate = (
        None if mix.alternate is None else mix.alternate.model_copy(update={"mix": _always_applied(mix.alternate.mix)})
    )
    always = mix.apply.model_copy(update={"prob": 1.0, "schedule": type(mix.apply.schedule)()})
    return mix.model_copy(update={"apply": always, "layer": 0, "alternate": alternate})


def _mixed(mix: Mix, augment: Augment, images: ImageSet, rows: np.ndarray, seed: int) -> tuple[np.ndarray, MixDraw]:
    """Return the mixed images, uint8 [n, H, W, 3], and the first draw in which no sample is its own partner."""
    import torch

    from trainables.augment.apply import draw_and_apply
    from trainables.augment.crops import boxes_in_windows
    from trainables.data.batches import Normalizer
    from trainables.mixing.apply import mix_images
    from trainables.mixing.batch_view import BatchView
    from trainables.mixing.draw import draw_mix
    from trainables.mixing.saliency import stand_in_maps

    device = torch.device("cpu")
    pixels, windows = draw_and_apply(images.images[rows], augment, generator(seed, "preview", "augment"))
    count, height_px, width_px, channels = pixels.shape
    normalize = Normalizer.from_statistics(images.mean, images.std, width_px=width_px, device=device)
    normal = normalize(torch.from_numpy(pixels))
    boxes = None if images.boxes is None else images.boxes[rows].astype(np.int64)
    if boxes is not None and windows is not None:
        boxes = boxes_in_windows(boxes, windows, height_px, width_px)
    maps = stand_in_maps(normal)  # there is no network yet
    view = BatchView((count, channels, height_px, width_px), images.labels[rows], normal, boxes, maps)
    for attempt in range(100):
        draw = draw_mix(mix, view, rng=generator(seed, "preview", attempt), device=device)
        if (draw.partners.numpy() != np.arange(count)).all():
            break
    mixed = mix_images(normal, draw).permute(0, 2, 3, 1).numpy()
    deviation = np.maximum(images.std, 1e-3)
    return (255 * np.clip(mixed * deviation + images.mean, 0, 1)).round().astype(np.uint8), draw


def describe_mix(mix: Mix) -> tuple[str, ...]:
    """Return a few short lines about a policy: mask, size, position, and each part that differs from CutMix.

    Examples:
        >>> describe_mix(Mix.model_validate("cutmix"))
        ('mask box', 'lam ~ Beta(1, 1)', 'position clip', 'probability 0.5')
        >>> describe_mix(Mix.model_validate("off"))
        ('no mixing',)
    """
    if mix.apply.mean_prob == 0:
        return ("no mixing",)
    twice = ["drawn for height and width"] if mix.mask.sizes_per_mask > 1 else []
    lines = [_describe_mask(mix), _describe_size(mix.size), *twice, f"position {mix.position.kind}"]
    lines.append(f"probability {mix.apply.prob:.3g}")
    plain = Mix()
    if mix.partners != plain.partners:
        law = "" if mix.partners.alpha is None else f", Dirichlet({mix.partners.alpha:.3g})"
        lines.append(f"{mix.partners.count} partners{law}")
    for name in ("source", "granularity", "content", "layer"):
        value = getattr(mix, name)
        if value != getattr(plain, name):
            lines.append(f"{name} {list(value) if isinstance(value, tuple) else value}")
    if mix.pairing != plain.pairing:
        lines.append(f"pairing {mix.pairing.kind}")
    if mix.label.exponent != plain.label.exponent:
        lines.append(f"label exponent {mix.label.exponent}")
    if mix.label.by != plain.label.by:
        lines.append(f"label by {mix.label.by}")
    if mix.map_kinds:
        lines.append("saliency replaces maps")
    schedule = mix.apply.schedule
    if schedule.ramp_up_end > 0:
        lines.append(_describe_ramp("on", "rising", schedule.ramp_up_start, schedule.ramp_up_end))
    if schedule.ramp_down_start < 1:
        lines.append(_describe_ramp("off", "falling", schedule.ramp_down_start, schedule.ramp_down_end))
    if mix.alternate is not None:
        lines.append(f"or mask {mix.alternate.mix.mask.family} with probability {mix.alternate.prob:.3g}")
    return tuple(lines)


def _describe_ramp(state: str, change: str, start: float, end: float) -> str:
    return f"{state} from {start:g} of the run" if start == end else f"{change} from {start:g} to {end:g} of the run"


def _describe_mask(mix: Mix) -> str:
    """Return the mask's family and its parameters that are not the defaults, for example ``mask box, count 3``."""
    changed = {key: value for key, value in mix.mask.model_dump(exclude_defaults=True).items() if key != "family"}
    values = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in changed.items()}
    return ", ".join([f"mask {mix.mask.family}", *(f"{key} {value}" for key, value in values.items())])


def _describe_size(size: Size) -> str:
    match size:
        case FixedSize():
            return f"pasted fraction {size.frac:.3g}"
        case UniformSize():
            return f"pasted {size.of} {size.lo:.3g} to {size.hi:.3g}"
    beta = size.alpha if size.beta is None else size.beta
    distribution = f"lam ~ Beta({size.alpha:.3g}, {beta:.3g})"
    return distribution if (size.lo, size.hi) == (0, 1) else f"{distribution} in {1 - size.hi:.3g} to {1 - size.lo:.3g}"


def _caption(fracs: Sequence[tuple[float, str]]) -> str:
    """Return the label of a mixed image, given by the weight of each class, without a class of weight 0."""
    return "\n".join(f"{frac:.2f} {_short(name)}" for frac, name in fracs if frac >= 0.005)


def _short(name: str) -> str:
    """Return the first of several synonyms, cut to the room below an image."""
    first = name.split(",", maxsplit=1)[0]
    return first if len(first) <= LONGEST_CLASS else first[: LONGEST_CLASS - 1] + "…"


def _show_image(ax: Axes, image: np.ndarray, caption: str) -> None:
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(caption, fontsize=8, labelpad=2, linespacing=1.05, parse_math=False)  # a class may be called $x$


def _show_coverage(ax: Axes, coverage: np.ndarray) -> None:
    image = ax.imshow(coverage, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    height_px, width_px = coverage.shape
    values = (coverage[height_px // 2, width_px // 2], coverage[0, 0])
    ax.set_xlabel("coverage\ncentre {:.2f}, corner {:.2f}".format(*values), fontsize=7, labelpad=2, linespacing=1.05)
    bar = ax.inset_axes((1.05, 0.0, 0.06, 1.0))
    colours = ax.figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1])
    colours.ax.tick_params(labelsize=6, length=2, pad=1)


def _write_row_name(ax: Axes, name: str, lines: Sequence[str]) -> None:
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
    ax.text(-0.1, 1.0, name, fontsize=10, fontweight="bold", **place)
    ax.text(-0.1, 0.84, "\n".join(lines), fontsize=7.5, linespacing=1.25, color="0.25", **place)
