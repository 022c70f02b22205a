"""A sweep that was really run can be read, shown, exported and analysed."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from rich.console import Console

from analysis.data import frames
from sweep.export.tabular import export_tables
from sweep.records.reader import SweepRecords
from sweep.terminal.status import print_status

pytestmark = pytest.mark.ray

NOTEBOOK = Path(__file__).parents[2] / "analysis" / "notebooks" / "alpha_prob.ipynb"


def test_the_notebook_runs_on_it(small_sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTMIX_SWEEP_DIR", str(small_sweep_dir))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, startup_timeout=240, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert 6 <= figures <= 8  # a surface per arm with enough completed trials, which early stopping decides
    assert "Not a confirmed result" in outputs[-1]["data"]["text/markdown"]


def test_frames_agree_with_the_records(small_sweep_dir: Path, small_sweep: SweepRecords) -> None:
    sweep = frames.load(small_sweep_dir)
    assert len(sweep.trials) == len(small_sweep.trials)
    done = sweep.trials[sweep.trials["status"] == "completed"].set_index("trial")["final_val_top1_error"]
    last = small_sweep.epochs[small_sweep.epochs["epoch"] == 4].set_index("trial")["val_top1_error"]
    pd.testing.assert_series_equal(done.sort_index(), last.sort_index(), check_names=False, check_index_type=False)


def test_status_names_all_arms(small_sweep_dir: Path) -> None:
    out = io.StringIO()
    print_status(small_sweep_dir, Console(file=out, width=80))
    for arm in ("off", "cutout", "mixup", "cutmix"):
        assert f"\n{arm} " in out.getvalue()


@pytest.mark.parametrize(("format_", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_export_holds_every_row(
    format_: str,
    read: object,
    small_sweep_dir: Path,
    small_sweep: SweepRecords,
    tmp_path: Path,
) -> None:
    paths = export_tables(small_sweep_dir, tmp_path, format_)
    lengths = [len(read(path)) for path in paths]  # type: ignore[operator]
    assert lengths == [len(small_sweep.trials), len(small_sweep.epochs), len(small_sweep.decisions)]
