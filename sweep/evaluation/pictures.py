"""Pictures of an evaluation: one per trial, and one sheet per arm."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from sweep.evaluation.request import Task
from sweep.output_folder import make_output_folder
from trainables.evaluation.base import Measured
from trainables.whole_file import write_whole


def pictures_dir(sweep_dir: Path, axis: str) -> Path:
    """Return the folder of an axis' pictures."""
    return sweep_dir / "pictures" / axis


def save_pictures(sweep_dir: Path, task: Task, measured: Measured | None) -> None:
    """Write the pictures of one measurement: ``TRIAL-NAME.png``."""
    for name, png in measured.pictures.items() if measured else ():
        folder = make_output_folder(pictures_dir(sweep_dir, task.axis.name), below=sweep_dir)
        write_whole(folder / f"{task.trial}-{name}.png", png)


def write_sheets(sweep_dir: Path, axis: str, trials: pd.DataFrame) -> list[Path]:
    """Write one sheet per arm, ``arm-ARM-NAME.png``, with the pictures of its trials below one another.

    Returns:
        The files.
    """
    folder = pictures_dir(sweep_dir, axis)
    written = []
    for arm, names in trials.groupby("arm", sort=False)["trial"]:
        for kind, pages in _by_kind(folder, names).items():
            path = folder / f"arm-{arm}-{kind}.png"
            write_whole(make_output_folder(folder, below=sweep_dir) / path.name, _stack(pages))
            written.append(path)
    return written


def _by_kind(folder: Path, trials: Iterable[str]) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for trial in trials:
        for path in sorted(folder.glob(f"{trial}-*.png")):
            kinds.setdefault(path.stem.removeprefix(f"{trial}-"), []).append(path)
    return kinds


def _stack(paths: Iterable[Path]) -> bytes:
    from PIL import Image

    pages = [Image.open(path, formats=["PNG"]) for path in paths]  # other formats run other programs
    sheet = Image.new("RGB", (max(page.width for page in pages), sum(page.height for page in pages)), "white")
    top = 0
    for page in pages:
        sheet.paste(page, (0, top))
        top += page.height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
