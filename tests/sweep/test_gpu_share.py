"""The number of trials that share a GPU, measured at the start of a sweep: it is taken, recorded and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces.study import Study
from sweep.display import SilentDisplay
from sweep.gpu_share import with_measured_share
from sweep.manifest import new_manifest, read_study, with_run, with_share
from sweep.records.reader import read_manifest
from sweep.records.study_edits import check_study
from sweep.records.writer import write_manifest
from sweep.restart import has_begun
from trainables.errors import UserError


class Lines(SilentDisplay):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def show_line(self, text: str) -> None:
        self.lines.append(text)


def measure(study: Study) -> Any:
    return SimpleNamespace(trials_per_gpu=6)


def test_the_measured_number_is_recorded_and_kept(study_of: Callable[..., Study], tmp_path: Path) -> None:
    asked, display = study_of(resources={"trials_per_gpu": "auto", "cpus": 2}), Lines()
    study = with_measured_share(asked, display, measure)
    assert (study.resources.gpus, study.resources.trials_per_gpu, study.resources.cpus) == (0.1666, 6, 2)
    assert display.lines == ["trials_per_gpu: 6 (measured: the smallest number within 5 % of the best speed)"]
    write_manifest(tmp_path, with_share(with_run(new_manifest(asked, tmp_path, "run", {}), "run"), study))
    check_study(tmp_path)
    manifest = read_manifest(tmp_path)
    assert read_study(manifest, tmp_path) == study
    assert manifest["runs"][-1]["measured_trials_per_gpu"] == 6
    assert has_begun(asked, tmp_path)  # --or-resume continues it, and measures nothing
    of_older_version = dict(manifest["study"]["resources"])
    del of_older_version["mps"]
    older = {**manifest, "study": {**manifest["study"], "resources": of_older_version}, "runs": []}
    write_manifest(tmp_path, older)
    assert has_begun(asked, tmp_path)
    with pytest.raises(UserError, match="another study"):
        has_begun(study_of(resources={"trials_per_gpu": 4, "cpus": 2}), tmp_path)


def test_a_given_number_is_not_measured(study_of: Callable[..., Study]) -> None:
    study = study_of(resources={"trials_per_gpu": 4})
    assert with_measured_share(study, Lines(), lambda _: pytest.fail("measured")) is study
