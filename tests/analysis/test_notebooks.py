"""Notebooks run on any recorded sweep, and their verdicts follow the data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def said_by(path: Path, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Execute the notebook on a sweep and return all the Markdown that its code says."""
    monkeypatch.setenv("CUTMIX_SWEEP_DIR", str(sweep_dir))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:]]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(sweep_dir)}}
    ).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    warned = [output.text for output in outputs if output.output_type == "stream"]
    assert warned == []
    return "\n".join(output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {}))


@each_notebook
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@each_notebook
def test_a_notebook_defines_nothing_and_has_small_cells(path: Path) -> None:
    for cell in code_cells(nbformat.read(path, as_version=4)):
        lines = cell.source.splitlines()
        assert len(lines) <= 12
        assert not any(line.lstrip().startswith(("def ", "class ", "async def ")) for line in lines)
        assert "lambda" not in cell.source


@each_notebook
def test_a_notebook_finds_a_planted_effect(path: Path, planted_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = said_by(path, planted_dir, monkeypatch)
    assert "cutmix has a lower median validation top-1 error than off" in said
    assert "falls with prob" in said
    assert "not a confirmed result" in said


@each_notebook
def test_a_notebook_finds_nothing_where_nothing_is(path: Path, null_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = said_by(path, null_dir, monkeypatch)
    assert "whether cutmix and off differ in median validation top-1 error is undecided" in said
    assert "Decided: 0 of" in said
