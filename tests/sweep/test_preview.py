"""The picture of a study: it shows what the policies do, and all of its text can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from search_spaces.discover import built_in_studies, load_study
from sweep.preview import ArmPreview, Preview, describe_mix, load_previewed, plot_preview, preview_info, write_preview
from trainables.errors import UserError
from trainables.mixing.config import Mix
from trainables.mixing.presets import PRESETS


def info_of(name: str, *settings: str, n_samples: int = 4) -> Preview:
    return preview_info(load_previewed(name, settings=settings), n_samples=n_samples)


@pytest.fixture(scope="module")
def quickstart() -> Preview:
    return info_of("quickstart", n_samples=5)


def arm_of(info: Preview, name: str) -> ArmPreview:
    (arm,) = (arm for arm in info.arms if arm.arm == name)
    return arm


class TestContent:
    def test_every_arm_mixes_the_same_images_of_different_classes(self, quickstart: Preview) -> None:
        assert [arm.arm for arm in quickstart.arms] == ["off", "cutout", "mixup", "cutmix"]
        assert len(set(quickstart.captions)) == 5
        assert quickstart.originals.shape == (5, 32, 32, 3)
        assert (arm_of(quickstart, "off").images == quickstart.originals).all()

    def test_pixels_are_the_original_s_or_the_partner_s(self, quickstart: Preview) -> None:
        cutmix = arm_of(quickstart, "cutmix")
        for index, image in enumerate(cutmix.images):
            same = (image == quickstart.originals[index]).all(axis=2)
            partners = [(image == other).all(axis=2) for other in quickstart.originals]
            assert (same | np.any(partners, axis=0)).all()

    def test_captions_state_the_share_of_pixels(self, quickstart: Preview) -> None:
        cutmix = arm_of(quickstart, "cutmix")
        changed = 0
        for index, (image, caption) in enumerate(zip(cutmix.images, cutmix.captions, strict=True)):
            fracs = {line.split()[1]: float(line.split()[0]) for line in caption.splitlines()}
            assert sum(fracs.values()) == pytest.approx(1, abs=0.011)
            unchanged = (image == quickstart.originals[index]).all(axis=2).mean()
            # pixels that are equal in both images count as the original's, so its fraction may seem larger
            assert fracs.get(quickstart.captions[index], 0.0) <= unchanged + 0.01
            changed += unchanged < 1
        assert changed >= 4

    def test_cutout_leaves_labels_and_greys_a_box(self, quickstart: Preview) -> None:
        cutout = arm_of(quickstart, "cutout")
        assert cutout.captions == tuple(f"1.00 {name}" for name in quickstart.captions)
        assert (cutout.images != quickstart.originals).any(axis=(1, 2, 3)).all()

    def test_coverage_is_a_share(self, quickstart: Preview) -> None:
        assert arm_of(quickstart, "off").coverage.max() == 0
        paper = arm_of(quickstart, "cutmix").coverage
        assert paper.shape == (32, 32)
        assert paper[16, 16] == pytest.approx(0.46, abs=0.04)
        assert paper[0, 0] == pytest.approx(0.13, abs=0.04)

    def test_an_arm_that_augments_shows_changed_images(self, quickstart: Preview) -> None:
        section = "{augment: {resized_crop: {}, policy: {kind: trivial_augment}}}"
        info = info_of("quickstart", f"arms.off.base={section}", n_samples=5)
        off = arm_of(info, "off")
        assert off.policy == ("resized crop, area_frac 0.08 to 1, aspect 0.75 to 1.33", "trivial_augment", "no mixing")
        assert (off.images != info.originals).any(axis=(1, 2, 3)).all()
        assert (arm_of(info, "cutmix").images == arm_of(quickstart, "cutmix").images).all()

    def test_the_same_at_every_call(self, quickstart: Preview) -> None:
        again = info_of("quickstart", n_samples=5)
        assert again.captions == quickstart.captions
        for first, second in zip(again.arms, quickstart.arms, strict=True):
            assert (first.images == second.images).all()
            assert first.captions == second.captions

    def test_more_samples_than_classes(self) -> None:
        info = info_of("cutmix", n_samples=12)
        assert len(info.originals) == len(info.captions) == 12

    @pytest.mark.parametrize("preset", sorted(PRESETS))
    def test_every_preset_can_be_shown(self, preset: str) -> None:
        info = info_of(preset, n_samples=3)
        assert [arm.arm for arm in info.arms] == [preset]
        assert info.arms[0].images.shape == info.originals.shape
        assert 0 <= info.arms[0].coverage.min() <= info.arms[0].coverage.max() <= 1


class TestSheet:
    @pytest.mark.parametrize("name", [*built_in_studies(), "cutmix", "ricap"])
    def test_no_text_covers_another_or_a_picture(self, name: str) -> None:
        figure = plot_preview(preview_info(load_previewed(name, settings=()), n_samples=6))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # labels get their places
        renderer = canvas.get_renderer()
        tiles = [ax for ax in figure.axes if ax.images and ax.axison]
        pictures = [ax.get_window_extent(renderer) for ax in tiles]
        texts = [text for ax in tiles for text in (ax.xaxis.label, *ax.texts) if text.get_text()]
        boxes = [text.get_window_extent(renderer) for text in (*texts, *figure.texts)]
        for index, box in enumerate(boxes):
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1
            others = [*boxes[:index], *pictures]
            assert not any(_overlap(box, other) for other in others), texts[min(index, len(texts) - 1)].get_text()

    def test_captions_are_large_enough_to_read(self, quickstart: Preview) -> None:
        figure = plot_preview(quickstart)
        sizes = [ax.xaxis.label.get_fontsize() for ax in figure.axes if ax.get_xlabel()]
        assert min(sizes) * figure.dpi / 72 >= 10  # pixels

    def test_written_whole_as_png(self, tmp_path: Path) -> None:
        path = tmp_path / "sheet.png"
        write_preview(load_study("quickstart"), path, n_samples=3)
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 400
        assert list(tmp_path.iterdir()) == [path]


class TestWords:
    def test_say_what_differs_from_cutmix(self) -> None:
        mix = Mix.model_validate(
            {
                "mask": {"family": "box", "aspect_max": 2.0},
                "position": {"kind": "torus"},
                "label": {"exponent": "inf"},
                "apply": {"prob": 0.5, "schedule": {"ramp_up_end": 1.0}},
                "granularity": "batch",
                "layer": 2,
            }
        )
        assert describe_mix(mix) == (
            "mask box, aspect_max 2",
            "lam ~ Beta(1, 1)",
            "position torus",
            "probability 0.5",
            "granularity batch",
            "layer 2",
            "label exponent inf",
            "rising from 0 to 1 of the run",
        )
        half = {"apply": {"schedule": {"ramp_down_start": 0.5, "ramp_down_end": 0.5}}}
        assert describe_mix(Mix.model_validate(half))[-1] == "off from 0.5 of the run"
        assert describe_mix(Mix.model_validate("off")) == ("no mixing",)


class TestRefusals:
    def test_a_scale_of_a_preset(self) -> None:
        assert load_previewed("quickstart", scale="smoke", settings=()).budget.max_epochs == 2
        with pytest.raises(UserError, match="--scale 'smoke': 'cutmix' is a preset"):
            load_previewed("cutmix", scale="smoke", settings=())

    def test_an_unknown_name(self) -> None:
        with pytest.raises(UserError, match="unknown study or preset 'cutmx'; did you mean 'cutmix'"):
            load_previewed("cutmx", settings=())

    @pytest.mark.parametrize(("path", "message"), [("sheet.jpg", "must end in .png"), ("no/sheet.png", "no folder")])
    def test_a_file_that_cannot_be_written(self, path: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=message):
            write_preview(load_study("quickstart"), tmp_path / path, n_samples=3)
        assert list(tmp_path.iterdir()) == []


def _overlap(first: object, second: object) -> bool:
    inner = 0.5  # of a pixel: neighbours may touch
    return (
        min(first.x1, second.x1) - max(first.x0, second.x0) > inner  # type: ignore[attr-defined]
        and min(first.y1, second.y1) - max(first.y0, second.y0) > inner  # type: ignore[attr-defined]
    )
