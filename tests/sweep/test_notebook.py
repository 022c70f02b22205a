"""The display of a notebook: one output, updated in place; texts of users are escaped."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython.display
import pytest

from search_spaces.study import Study
from sweep.notebook import display as display_module
from sweep.notebook.display import NotebookDisplay, choose_display, in_notebook
from sweep.notebook.html import Html, sparkline, table
from sweep.notebook.progress import progress_html
from sweep.progress import RunningTrial, SweepProgress
from sweep.terminal.display import TerminalDisplay
from tests.processes import wait_until

MARKUP = "<b>cutmix</b> & off"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Return the list that collects each drawing: the HTML, and whether it replaces the drawing before."""
    drawings: list[tuple[str, bool]] = []
    ids = set()

    def show(data: dict[str, str], *, raw: bool, display_id: str, update: bool) -> None:
        assert raw
        ids.add(display_id)
        assert len(ids) == 1
        drawings.append((data["text/html"], update))

    monkeypatch.setattr(IPython.display, "display", show)
    return drawings


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


def test_a_notebook_is_recognised_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_display(), TerminalDisplay)
    for shell, expected in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is expected
    assert isinstance(choose_display(), NotebookDisplay)


def test_lines_stay_and_a_step_shows_its_time(drawn: list[tuple[str, bool]]) -> None:
    shown = NotebookDisplay()
    shown.show_line(MARKUP)
    with shown.show_status("starting Ray"):
        assert wait_until(lambda: len(drawn) > 2)
    shown.show_warning("no dashboard")
    assert [update for _, update in drawn] == [False] + [True] * (len(drawn) - 1)
    assert "starting Ray ... 0 s" in drawn[1][0]
    assert re.search(r"starting Ray ... [1-9]\d* s", drawn[2][0])
    last = drawn[-1][0]
    assert "starting Ray" not in last
    assert "no dashboard" in last
    assert "&lt;b&gt;cutmix&lt;/b&gt; &amp; off" in last
    assert "<b>" not in last


def test_a_sweep_shows_arms_running_trials_and_its_last_failure(
    drawn: list[tuple[str, bool]],
    study_of: Callable[..., Study],
    simulate: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def curve(job: Any, epoch: int) -> dict[str, Any]:
        fails = job.trial == "cutout-0000" and epoch == 2
        return {"failed": MARKUP} if fails else {"val_top1_error": 0.5 / epoch}

    monkeypatch.setattr(display_module, "DRAW_S", 0.0)
    monkeypatch.setattr(display_module, "MAX_DRAW_FRAC", 1e9)
    simulation = simulate(study_of(), tmp_path / "sweep", curve=curve)
    with NotebookDisplay().show_sweep(simulation.conductor) as update:
        simulation.run(25)
        update()
        running = drawn[-1][0]
        simulation.run()
    last = drawn[-1][0]
    assert "running trial" in running
    assert "running trial" not in last
    assert "small: 12 of 12 trials ended" in text_of(last)
    assert (
        "last failure: cutout-0000 on here: &lt;b&gt;cutmix" in last or "last failure: cutout-0000: &lt;b&gt;" in last
    )
    assert "10.00 %" in last  # 0.5 / 5: the best error of each arm
    assert "<polyline" in last


def test_running_trials_have_their_search_where_an_arm_has_several() -> None:
    trial = RunningTrial("off-0007", "off", "search", 3, 25, 0.451, 1200.0, None, search=2)
    for n_searches, cells in ((1, ["off-0007", "3 of 25"]), (5, ["off-0007", "2", "3 of 25"])):
        html = progress_html(SweepProgress("small", 0, 8, 9.0, None, (), (trial,), None, 3, n_searches))
        assert re.findall(r"<td[^>]*>([^<]*)", html)[: len(cells)] == cells


def test_an_interruption_leaves_the_last_state(
    drawn: list[tuple[str, bool]], study_of: Callable[..., Study], simulate: Callable[..., Any], tmp_path: Path
) -> None:
    simulation = simulate(study_of(), tmp_path / "sweep")
    shown = NotebookDisplay()
    with pytest.raises(KeyboardInterrupt), shown.show_sweep(simulation.conductor):
        raise KeyboardInterrupt
    shown.show_line("later")
    assert "0 of 12 trials" in drawn[-1][0]
    assert "later" in drawn[-1][0]


def test_measurements_are_counted(drawn: list[tuple[str, bool]]) -> None:
    with NotebookDisplay().show_measurements(2) as update:
        update(f"measured {MARKUP}")
        update("measured ood of off-0001")
    assert "1 of 2 measurements" in drawn[1][0]
    assert "&lt;b&gt;" in drawn[1][0]
    assert "2 of 2 measurements" in drawn[-1][0]


def test_a_table_escapes_texts_and_keeps_html() -> None:
    html = table(["arm"], [[MARKUP], [Html("<i>x</i>")]])
    assert "&lt;b&gt;cutmix&lt;/b&gt; &amp; off" in html
    assert "<i>x</i>" in html
    assert sparkline([0.5], lo=0.1, hi=0.5) == ""
    assert "0.0,0.0 60.0,0.0" in sparkline([0.5, 0.5], lo=0.5, hi=0.5)
