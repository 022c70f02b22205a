"""What a notebook shows is kept as files while a report is being written, and only then."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.report.show import REPORT_DIR, bullet_list, show

FRAME = pd.DataFrame({"arm": ["off", "cutmix"], "error": [0.306581, 0.316782], "n": [5, 4]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(REPORT_DIR, str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("capsys")
class TestShow:
    def test_a_table_keeps_its_raw_values(self, folder: Path) -> None:
        show(FRAME, "arms", percent=["error"])
        pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "arms.csv"), FRAME)
        assert r"off & 30.66 & 5 \\" in (folder / "tables" / "arms.tex").read_text()

    def test_a_table_keeps_an_index_that_says_something(self, folder: Path) -> None:
        show(FRAME.set_index("arm"), "arms")
        pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "arms.csv"), FRAME)

    def test_a_styler_is_kept_as_it_is_styled(self, folder: Path) -> None:
        show(FRAME.style.format({"error": "{:.1f}"}), "arms")
        pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "arms.csv"), FRAME)
        assert "0.3" in (folder / "tables" / "arms.tex").read_text()

    def test_a_figure_is_kept_as_pixels_and_as_text_that_can_be_read(self, folder: Path) -> None:
        ax = plt.subplots(figsize=(3, 2))[1]
        ax.set_title("Error of arms")
        show(ax, "errors")
        with Image.open(folder / "figures" / "errors.png") as image:
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        svg = ElementTree.parse(folder / "figures" / "errors.svg")
        assert "Error of arms" in ["".join(node.itertext()) for node in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert not plt.get_fignums()

    def test_the_same_figure_is_the_same_file(self, folder: Path) -> None:
        for name in ("a", "b"):
            ax = plt.subplots()[1]
            ax.plot(np.arange(3), marker="o")
            ax.figure.set_gid("same")
            show(ax, "curve")
            (folder / "figures" / "curve.svg").rename(folder / name)
            (folder / "figures" / "curve.png").unlink()
        assert (folder / "a").read_bytes() == (folder / "b").read_bytes()

    def test_a_name_is_used_once(self, folder: Path) -> None:
        show(FRAME, "arms")
        with pytest.raises(ValueError, match="the name 'arms' is already used"):
            show(FRAME, "arms")
        assert len(list((folder / "tables").iterdir())) == 2

    @pytest.mark.parametrize("name", ["", "../arms", "Arms", "a b"])
    def test_a_name_is_one(self, folder: Path, name: str) -> None:
        with pytest.raises(ValueError, match="lower-case letters, digits and underscores"):
            show(FRAME, name)
        assert not list(folder.iterdir())

    def test_sentences_are_listed_below_the_name_of_their_group(self) -> None:
        assert bullet_list({"One": ["a", "b"], "None": [], "Two": ["c"]}) == "**One**\n\n- a\n- b\n\n**Two**\n\n- c"

    def test_other_things_are_refused(self) -> None:
        with pytest.raises(TypeError, match="got int as 'three'"):
            show(3, "three")  # type: ignore[arg-type]

    def test_nothing_is_written_without_a_report(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(REPORT_DIR, raising=False)
        monkeypatch.chdir(tmp_path)
        for _ in range(2):  # a cell may be run again
            show(FRAME, "arms")
            show(plt.subplots()[1], "errors")
        assert not list(tmp_path.iterdir())
