"""Notebooks run on any recorded sweep, and their verdicts follow the data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

from search_spaces.discover import load_study
from tests.analysis.simulated_grids import GRIDS
from tests.analysis.simulated_studies import STUDIES

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One kernel for all notebooks: to start one and import pandas takes longer than to run a notebook."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    manager, client = start_new_kernel(startup_timeout=240, kernel_name="python3", env=environment)
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


def said_by(path: Path, sweep_dir: Path, kernel: KernelManager) -> str:
    """Execute the notebook on a sweep, with none of the names of the one before, and return what its code says."""
    notebook = nbformat.read(path, as_version=4)
    sweep_dirs = {name: str(sweep_dir) for name in ("CUTMIX_SWEEP_DIR", "CUTMIX_SWEEP_DIRS")}
    start = f"%reset -f\nimport os\nos.environ.update({sweep_dirs!r})\nos.chdir({str(sweep_dir)!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(start))
    client = NotebookClient(notebook, timeout=240, km=kernel)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
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
def test_a_notebook_says_its_verdict_in_a_cell_that_a_report_finds(path: Path) -> None:
    tagged = [
        cell for cell in code_cells(nbformat.read(path, as_version=4)) if "verdict" in cell.metadata.get("tags", [])
    ]
    assert len(tagged) == 1
    assert tagged[0].source.splitlines()[-1].startswith("Markdown(")


@each_notebook
def test_a_notebook_names_what_it_shows(path: Path) -> None:
    sources = [cell.source for cell in code_cells(nbformat.read(path, as_version=4))]
    assert not [source for source in sources if "plots." in source and "show(" not in source and "import" not in source]
    assert any("show(" in source for source in sources)


@each_notebook
def test_a_notebook_shows_what_was_evaluated_and_the_luck_of_the_search(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stem == "comparison" or ("show_measurements(" in text and "show_luck(" in text)


@each_notebook
def test_a_notebook_says_before_its_verdict_what_is_unfinished(path: Path) -> None:
    """Not to the reader of a report, whose page has this line already."""
    cells = code_cells(nbformat.read(path, as_version=4))
    [place] = [place for place, cell in enumerate(cells) if "show_unfinished(cutmix_sweep.load" in cell.source]
    assert cells[place].metadata.tags == ["notebook-only"]
    assert any("verdict" in cell.metadata.get("tags", []) for cell in cells[place:])


@each_notebook
def test_a_notebook_goes_from_the_question_to_what_it_does_not_show(path: Path) -> None:
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    headings = [line[3:] for text in texts for line in text.splitlines() if line.startswith("## ")]
    order = [headings.index(name) for name in ("Question", "What was run", "Verdict", "What this does not show")]
    assert order == sorted(order)
    assert (order[0], order[-1]) == (0, len(headings) - 1)


SAID = {
    "alpha_prob": (
        ("cutmix has a lower median validation top-1 error than off", "falls with prob", "Not a confirmed result"),
        (),
    ),
    "mask_shape": (
        (
            "fourier has a lower validation top-1 error than box",
            "off has a higher validation top-1 error than box",
            "Whether ellipse and box differ in validation top-1 error is undecided",
        ),
        ("Whether fourier and box differ in validation top-1 error is undecided", "Decided: 0 of"),
    ),
    "any_study": (
        (
            "cutmix has a lower validation top-1 error than off",
            "Whether mixup and off differ in validation top-1 error is undecided",
            "Not a confirmed result",
        ),
        ("Whether cutmix and off differ in validation top-1 error is undecided", "Decided: 0 of"),
    ),
    "compute": (
        (
            "relative to off on the same network and seed: cutmix higher than off; cutout, mixup undecided (from",
            "cutmix has a lower validation top-1 error at equal training time than off",
            "At equal training FLOPs, over 3 networks: cutmix lower than off; cutout, mixup undecided.",
            "cifar_resnet8 against off on cifar_resnet14: in error, cutmix lower than off",
            "All 36 completed trials have been measured.",
        ),
        (),
    ),
    "early_stopping": (
        (
            "of 200 orders of n = 64 curves",
            "Ranks lost at epoch 1 by validation NLL, compared with the final ranks: cutmix higher than off; cutout",
        ),
        (),
    ),
    "co_movement": (
        (
            "Within arms, error and error under PGD 2/255 are positively correlated (rank correlation +0.",
            "Within arms, undecided: error and noise missed.",
            "Within arms, controlling for the error, error under FGSM 8/255 and error under PGD 2/255 are positively",
            "5 of 6 gains are correlated with a lower error",
            "Not measured on any trial: corruption, localization.",
        ),
        (),
    ),
    "robust_vs_adversarial": (
        (
            "Error (PGD 2/255), against off: pgd, cutmix_pgd lower than off; cutout, mixup, cutmix, fgsm, cutmix_fgsm",
            "Error (PGD 2/255), against pgd: off, cutout, mixup, cutmix, fgsm, cutmix_fgsm higher than pgd",
            "Clean error, against off: cutmix, cutmix_fgsm lower than off; pgd higher than off",
            "Robust to one step alone: fgsm in 5 of 5, cutmix_fgsm in 5 of 5.",
        ),
        (),
    ),
    "quickstart": (
        (
            "cutmix, searched with 5 trials, has a lower test top-1 error than off (difference in points -",
            "Whether mixup, searched with 5 trials, and off differ in test top-1 error is undecided",
            "`n` counts searches, so the intervals contain the luck of the search",
            "## Luck of the search",
            "cutmix: the winners of 5 searches have test errors from",
            "Searches and seeds are not separable with 1 seed per search",
            "lies between others that were tried",
        ),
        ("Whether cutmix and off differ in validation top-1 error is undecided", "Not a confirmed result"),
    ),
    "paper_ablation": (
        (
            "one_hot is worse than cutmix (+1.42 points on cifar100, pyramidnet200_a240_bn) survives",
            "sigma frac 0.5 is worse than cutmix (+1.48 points on cifar100, pyramidnet200_a240_bn) is reversed",
            "scheduled is worse than cutmix (+0.25 points on cifar100, pyramidnet200_a240_bn) is undecided",
        ),
        (
            "one_hot is worse than cutmix (+1.42 points on cifar100, pyramidnet200_a240_bn) is undecided",
            "Decided: 0 of 13",
        ),
    ),
    "position": (
        (
            "torus has a lower validation top-1 error than cutmix",
            "policy spill: lam nominal has a higher validation top-1 error than lam realised",
            "Whether alpha matters for validation top-1 error is undecided",
            "The configuration found for torus has a lower test error of the worst class than the configuration found",
            "How much of this is the luck of one search is not known.",
            "Not measured yet: MaxBoxAccV2",
        ),
        (
            "Whether torus and cutmix differ in validation top-1 error is undecided",
            "Decided: 0 of 3",
            "No arm is confirmed yet",
        ),
    ),
    "label_rule": (
        (
            "policy cutmix: exponent inf has a higher validation top-1 error than exponent 1",
            "policy mixup: Whether exponent inf and exponent 1 differ in validation top-1 error is undecided",
            "The interaction exponent x smoothing matters",
            "No two values of exponent are confirmed",
        ),
        ("policy cutmix: Whether exponent inf and exponent 1 differ in validation ECE is undecided", "Decided: 0 of 8"),
    ),
    "pairing": (
        (
            "same_class has a higher validation top-1 error than cutmix",
            "granularity batch has a higher validation top-1 error than granularity sample",
            "Whether gate batch and gate sample differ in validation top-1 error is undecided",
            "off has a higher test error of the worst class than the configuration found for cutmix",
        ),
        ("Whether same_class and cutmix differ in validation top-1 error is undecided", "Decided: 0 of 6"),
    ),
    "schedule": (
        (
            "ramp_up has a higher validation top-1 error than cutmix",
            "cool_down has a lower validation NLL than cutmix",
            "Whether middle and cutmix differ in validation top-1 error is undecided",
            "ramp_up has a lower signed test ECE than cutmix",
        ),
        ("Whether ramp_up and cutmix differ in validation ECE is undecided", "Decided: 0 of 6"),
    ),
    "budget": (
        (
            "With 50 % of the images, cutmix starts to help at 12",
            "whether mixup crosses off from 4 to 32 epochs is undecided",
            "at which cutmix starts to help is determined by images shown, not by passes over them",
        ),
        (),
    ),
    "comparison": (
        (
            "(validation top-1 error, not confirmed): cutmix lower than off; cutout, mixup undecided.",
            "ranks over sweeps",
        ),
        (
            "(validation top-1 error, not confirmed): cutout, mixup, cutmix undecided.",
            "ranks over sweeps need 3 sweeps",
        ),
    ),
}
"""What a notebook has to say of a sweep with an effect, and of one without (see ``NULL_ELSEWHERE``)."""

NOTHING: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
"""Expectations of a notebook without an entry: it has to run."""


SIMULATED = {"mask_shape": "shapes"}
"""Which of the simulated sweeps a notebook is run on, ``planted_..._dir`` and ``null_..._dir``; of others the first."""

ON_DEFAULT = {"alpha_prob", "any_study", "comparison"}
"""Notebooks that are run on the sweep of ``planted_dir`` and ``null_dir``."""


NULL_ELSEWHERE = {"alpha_prob", "budget", "co_movement", "compute", "early_stopping", "robust_vs_adversarial"}
"""Studies whose tests in ``tests/analysis/questions`` have sweeps without an effect."""


def folder_of(path: Path, kind: str, request: pytest.FixtureRequest) -> Path:
    if path.stem in STUDIES:
        made: Path = request.getfixturevalue("simulated_study")(path.stem, kind == "planted")
        return made
    if path.stem in GRIDS:
        simulate = request.getfixturevalue("simulate")
        return Path(simulate(**GRIDS[path.stem](kind == "planted")))
    if path.stem not in SIMULATED and path.stem not in ON_DEFAULT:  # a new study: its own arms, the last one better
        arms = tuple(load_study(path.stem).arms)
        gains = {arms[-1]: 0.1 * (kind == "planted")}
        return Path(request.getfixturevalue("simulate")(study=path.stem, arms=arms, gains=gains, stop=False))
    name = SIMULATED.get(path.stem)
    folder: Path = request.getfixturevalue(f"{kind}_{name}_dir" if name else f"{kind}_dir")
    return folder


@each_notebook
def test_a_notebook_finds_a_planted_effect(path: Path, request: pytest.FixtureRequest, kernel: KernelManager) -> None:
    said = said_by(path, folder_of(path, "planted", request), kernel)
    for sentence in SAID.get(path.stem, NOTHING)[0]:
        assert sentence in said


@pytest.mark.parametrize("study", ["budget", "paper_ablation", "position"])
def test_a_notebook_runs_on_a_sweep_that_has_just_begun(
    study: str, simulate: Callable[..., Path], kernel: KernelManager
) -> None:
    path = ROOT / "analysis" / "notebooks" / f"{study}.ipynb"
    begun = simulate(**{**GRIDS[study](False), "replicates": 1, "n_running": 1000})
    assert "ndecided" in said_by(path, begun, kernel)


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem not in NULL_ELSEWHERE], ids=lambda path: path.stem
)
def test_a_notebook_finds_nothing_where_nothing_is(
    path: Path, request: pytest.FixtureRequest, kernel: KernelManager
) -> None:
    said = said_by(path, folder_of(path, "null", request), kernel)
    for sentence in SAID.get(path.stem, NOTHING)[1]:
        assert sentence in said
