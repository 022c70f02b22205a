"""Reports: the notebook of the study, executed on a sweep and written as one HTML page with its figures and tables.

The page embeds all figures and tables and opens without a network. Several sweeps give one page that begins with their
comparison.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from analysis.data.arms import SWEEP_DIRS, labels
from analysis.data.frames import SWEEP_DIR
from analysis.report.execute import NotebookFailedError, execute
from analysis.report.page import Section, page, section
from analysis.report.show import REPORT_DIR
from sweep.findings.cancelled import describe_cancelled
from sweep.findings.gpu_memory import describe_gpu_memory
from sweep.output_folder import check_output_folder, make_output_folder
from sweep.records.errors import RecordsError
from sweep.records.reader import read_sweep, read_table
from sweep.records.schema import COMPLETED, CONFIRM, SEARCH, TRIALS
from trainables.whole_file import write_whole

__all__ = ["NotebookFailedError", "notebooks", "write_report"]

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
ANY_STUDY, COMPARISON = "any_study", "comparison"
"""Notebooks that belong to no study: for a study without its own notebook, and for several sweeps."""

PAGE = "report.html"

REPORT = "report"
"""Folder of a report."""


def write_report(
    sweep_dirs: Sequence[Path],
    *,
    unfinished: Callable[[Path], str],
    to: Path | None = None,
    notebook: str | None = None,
) -> Path:
    """Write a report of one sweep, or of several sweeps and their comparison; return the path of its page.

    Nothing is written until all notebooks have finished; files of an earlier report are replaced.

    Args:
        sweep_dirs: folders of sweeps, at least one.
        unfinished: function from the folder of a sweep to sentences on what its results lack, which the page shows
            before the verdict; "" if nothing is missing.
        to: folder of the report; None uses ``report`` in the folder of the sweep, or in the current folder for several
            sweeps.
        notebook: notebook to execute instead of the notebook of each sweep's study: a built-in name, or the path of an
            ``.ipynb`` file. No notebook, and no other code, is taken from the folder of a sweep.

    Raises:
        UserError: the folder of the report is a link in the folder of the sweep.
        RecordsError: a folder without a readable sweep, a missing notebook, or a target that is not a folder.
        NotebookFailedError: a cell of a notebook raised an error.
    """
    folders = labels(sweep_dirs)
    # the records as well: damage is refused before a notebook runs
    manifests = {label: read_sweep(folder).manifest for label, folder in folders.items()}
    paths = {label: _notebook(manifest, notebook) for label, manifest in manifests.items()}
    notices = {label: unfinished(folder) for label, folder in folders.items()}
    # a folder that the user has chosen may be a link, a folder that came with a sweep may not
    below = to or (Path() if len(folders) > 1 else next(iter(folders.values())))
    target = to or below / REPORT
    check_output_folder(target, below=below)
    if target.exists() and not target.is_dir():
        raise RecordsError(f"--to '{target}': not a folder")
    with TemporaryDirectory(prefix="cutmix-sweep-report-") as name:
        scratch = Path(name)
        if len(folders) == 1:
            [(label, folder)] = folders.items()
            sections = [
                _sweep(folder, manifests[label], paths[label], notices[label], anchor="sweep", files=scratch),
            ]
        else:
            sections = [_comparison(folders, notices, scratch)]
            for number, (label, folder) in enumerate(folders.items(), start=1):
                files = scratch / label
                section_of_sweep = _sweep(
                    folder, manifests[label], paths[label], notices[label], anchor=f"sweep-{number}", files=files
                )
                sections.append(replace(section_of_sweep, label=label))
        _deliver(page(sections, footer=_footer()), scratch, target, below=below)
    return target / PAGE


def notebooks() -> list[str]:
    """List the names of the notebooks that can report on a sweep."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb") if path.stem != COMPARISON)


def _notebook(manifest: Mapping[str, Any], study: str | None) -> Path:
    """Return the notebook that the user names, otherwise that of the sweep's study.

    The name of the study is looked up among the notebooks of this package: it never becomes a part of a path.
    """
    built_in = {name: NOTEBOOKS / f"{name}.ipynb" for name in notebooks()}
    if study is None:
        return built_in.get(str(manifest.get("study", {}).get("name")), built_in[ANY_STUDY])
    path = Path(study)
    if study in built_in or (path.suffix == ".ipynb" and path.is_file()):
        return built_in.get(study, path)
    raise RecordsError(
        f"--notebook '{study}': no such notebook; choose one of {', '.join(built_in)}, or an .ipynb file"
    )


def _sweep(folder: Path, manifest: Mapping[str, Any], path: Path, notice: str, *, anchor: str, files: Path) -> Section:
    environment = {SWEEP_DIR: str(folder.absolute()), REPORT_DIR: str(files)}
    executed = execute(path, environment=environment)
    study = manifest.get("study", {})
    # the notebook of another study asks its own question
    asks_this = path.parent != NOTEBOOKS or path.stem in (study.get("name"), ANY_STUDY)
    question = str(study.get("question", "")) if asks_this else ""
    result = section(executed, anchor=anchor, folder=files, question=question, facts=_facts(folder, manifest))
    result.notices = [notice] if notice else []
    if path.stem == ANY_STUDY:
        result.title = str(study.get("name", result.title))
    return result


def _comparison(folders: Mapping[str, Path], notices: Mapping[str, str], files: Path) -> Section:
    every = os.pathsep.join(str(folder.absolute()) for folder in folders.values())
    executed = execute(NOTEBOOKS / f"{COMPARISON}.ipynb", environment={SWEEP_DIRS: every, REPORT_DIR: str(files)})
    question = f"Do the arms differ in the same way in {', '.join(folders)}?"
    result = section(executed, anchor="comparison", folder=files, question=question, facts={})
    result.notices = [f"{label}: {notice}" for label, notice in notices.items() if notice]
    return result


def _facts(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts for the head of a report: the study, its trials, the hardware and the command."""
    study, runs = manifest.get("study", {}), manifest.get("runs") or []
    commands = list(dict.fromkeys(run["command"] for run in runs)) or [str(manifest.get("command", ""))]
    dates = list(dict.fromkeys(run["started_at"][:10] for run in runs))
    facts = {
        "Sweep": folder.absolute().name,
        "Study": str(study.get("name", "")),
        "Started": " and ".join([dates[0], dates[-1]] if len(dates) > 1 else dates),
        "Data": ", ".join(manifest.get("data", {})),
        "Budget": _budget(study.get("budget", {})),
        **_counts(read_table(folder, TRIALS)),
        "Hardware": ", ".join(_hardware(manifest.get("hardware", {}))),
        "Command": "; ".join(commands),
        "Versions": ", ".join(f"{name} {number}" for name, number in manifest.get("versions", {}).items()),
    }
    return {name: value for name, value in facts.items() if value}


def _budget(budget: Mapping[str, Any]) -> str:
    rule = (budget.get("early_stopping") or {}).get("rule", "none")
    stopping = "no early stopping" if rule == "none" else f"early stopping by {rule}"
    amounts = [f"{budget[name]} {unit}" for name, unit in _BUDGET.items() if budget.get(name)]
    return ", ".join([*amounts, stopping]) if budget else ""


_BUDGET = {"trials": "trials per arm", "max_epochs": "epochs at most"}


def _counts(trials: pd.DataFrame) -> dict[str, str]:
    counts = {}
    for phase, label in ((SEARCH, "Search"), (CONFIRM, "Confirmation")):
        rows = trials[trials["phase"] == phase]
        if len(rows):
            done, seeds = int((rows["status"] == COMPLETED).sum()), rows["seed"].nunique()
            arms, searches = rows["arm"].nunique(), rows["search"].nunique()
            each = f" of {searches} searches each" if searches > 1 else ""
            counts[label] = f"{len(rows)} trials in {arms} arms{each}, {done} completed; {seeds} seeds"
    if cancelled := describe_cancelled(trials):
        counts["Cancelled"] = cancelled
    if out_of_memory := describe_gpu_memory(trials):
        counts["GPU memory"] = out_of_memory
    return counts


def _hardware(hardware: Mapping[str, Any]) -> list[str]:
    formats = {"cores": "{} cores", "usable_cores": "{} usable cores", "memory_gib": "{} GiB of memory"}
    unnamed = {name: value for name, value in hardware.items() if name not in ("host", "gpus")}
    gpus = [str(gpu.get("name", gpu) if isinstance(gpu, dict) else gpu) for gpu in hardware.get("gpus") or []]
    return [*gpus, *(formats.get(name, "{}").format(value) for name, value in unnamed.items())]


def _footer() -> str:
    from importlib.metadata import version

    return f"Written by cutmix-sweep {version('cutmix-sweep')} on {datetime.now():%Y-%m-%d at %H:%M}."


def _deliver(html: str, scratch: Path, target: Path, *, below: Path) -> None:
    """Write the files of a report to their folder, the page last; a link in the place of a file is replaced."""
    for path in sorted(scratch.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(scratch)
            make_output_folder(copy.parent, below=below)
            write_whole(copy, path.read_bytes())
    make_output_folder(target, below=below)
    write_whole(target / PAGE, html)
