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


SAID = {
    "alpha_prob": (
        ("cutmix has a lower median validation top-1 error than off", "falls with prob", "not a confirmed result"),
        ("whether cutmix and off differ in median validation top-1 error is undecided", "Decided: 0 of"),
    ),
    "mask_shape": (
        (
            "fourier has a lower validation top-1 error than box",
            "off has a higher validation top-1 error than box",
            "Whether ellipse and box differ in validation top-1 error is undecided",
        ),
        ("Whether fourier and box differ in validation top-1 error is undecided", "Decided: 0 of"),
    ),
}
"""What each notebook has to say of a sweep with an effect, and of one without."""


def folder_of(path: Path, kind: str, request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"{kind}_shapes_dir" if path.stem == "mask_shape" else f"{kind}_dir")
    return folder


@each_notebook
def test_a_notebook_finds_a_planted_effect(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = said_by(path, folder_of(path, "planted", request), monkeypatch)
    for sentence in SAID[path.stem][0]:
        assert sentence in said


@each_notebook
def test_a_notebook_finds_nothing_where_nothing_is(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = said_by(path, folder_of(path, "null", request), monkeypatch)
    for sentence in SAID[path.stem][1]:
        assert sentence in said
