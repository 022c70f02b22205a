"""A sweep as a Python object, and what the functions of ``cutmix_sweep`` share."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.resources import check_one_share
from search_spaces.study import Study
from sweep.endings import Joined, SweepEnded
from sweep.formats import reason_in_one_line
from sweep.manifest import read_study
from sweep.mirrored import shown
from sweep.notebook.display import choose_display
from sweep.notebook.views import StatusView
from sweep.output_folder import output_folder
from sweep.records.reader import read_manifest
from sweep.status import describe_unfinished
from sweep.storage import Place, opened, place_of

if TYPE_CHECKING:
    import pandas as pd

    from trainables.models.saved import SavedModel
    from trainables.storage_url import StorageUrl

Folder = str | os.PathLike[str]


class Sweep:
    """A sweep in its folder or in an object store; everything is read from the records when it is asked for.

    Attributes:
        dir: absolute path of the folder, or the address in an object store.

    Examples:
        >>> sweep = Sweep("demo")  # doctest: +SKIP
        >>> sweep.trials.query("arm == 'cutmix'")  # doctest: +SKIP
    """

    def __init__(self, sweep_dir: Folder | StorageUrl) -> None:
        """Check that the folder holds a sweep.

        Raises:
            RecordsError: it does not.
        """
        place = place_of(sweep_dir)
        with opened(place) as sweep:
            read_manifest(sweep.path)
        self.dir: Place = place.absolute() if isinstance(place, Path) else place

    @property
    def study(self) -> Study:
        """Return the study that was run."""
        with opened(self.dir) as sweep:
            return read_study(read_manifest(sweep.path), sweep.path)

    @property
    def trials(self) -> pd.DataFrame:
        """Return one row per trial."""
        from sweep.findings.trials import list_trials

        with opened(self.dir) as sweep:
            return list_trials(sweep.path)

    @property
    def unfinished(self) -> str:
        """Return what a result lacks: the trials that are left and how to continue; "" if nothing is missing."""
        with opened(self.dir) as sweep:
            return describe_unfinished(sweep.path)

    def status(self) -> StatusView:
        """Return the progress and the results so far: a dict that prints as a table."""
        with opened(self.dir) as sweep:
            return StatusView(sweep.path)

    def resume(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        data: str | None = None,
        address: str | None = None,
        insecure: bool = False,
        strict_nodes: bool = False,
        max_trials: int | None = None,
        start_timeout: float | None = None,
        retry_failed: bool = False,
        no_models: bool = False,
        log_to: Sequence[str] = (),
    ) -> Sweep:
        """Resume this sweep; see ``cutmix_sweep.resume``."""
        from search_spaces.extension import limited

        joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
        limits = list_settings(settings)
        return self._continue(
            format_call(
                "resume",
                str(self.dir),
                settings=settings,
                data=data,
                **asdict(joined),
                retry_failed=retry_failed,
                no_models=no_models,
                log_to=log_to,
            ),
            change=(lambda study: limited(study, limits)) if limits else None,
            regain_models=not no_models,
            data=data,
            joined=joined,
            retry_failed=retry_failed,
            log_to=log_to,
        )

    def extend(
        self,
        *,
        add_trials: int = 0,
        add_searches: int = 0,
        add_seeds: int = 0,
        add_arms: Sequence[str] | Mapping[str, Any] = (),
        data: str | None = None,
        address: str | None = None,
        insecure: bool = False,
        strict_nodes: bool = False,
        max_trials: int | None = None,
        start_timeout: float | None = None,
        log_to: Sequence[str] = (),
    ) -> Sweep:
        """Add trials, searches, seeds or arms and run them; see ``cutmix_sweep.extend``."""
        from search_spaces.extension import extended

        joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
        arms = add_arms if isinstance(add_arms, Mapping) else {name: {"mix": name} for name in as_list(add_arms)}
        counts = {"add_trials": add_trials, "add_searches": add_searches, "add_seeds": add_seeds}
        additions = {**{name: count or None for name, count in counts.items()}, "add_arms": add_arms}
        return self._continue(
            format_call("extend", str(self.dir), **additions, data=data, **asdict(joined), log_to=log_to),
            change=lambda study: extended(study, trials=add_trials, searches=add_searches, seeds=add_seeds, arms=arms),
            regain_models=False,
            data=data,
            joined=joined,
            log_to=log_to,
        )

    def confirm(
        self,
        *,
        seeds: int,
        searches: int | None = None,
        configs: int | None = None,
        data: str | None = None,
        address: str | None = None,
        insecure: bool = False,
        strict_nodes: bool = False,
        max_trials: int | None = None,
        start_timeout: float | None = None,
        log_to: Sequence[str] = (),
    ) -> Sweep:
        """Train the winners again on fresh seeds; see ``cutmix_sweep.confirm``."""
        from search_spaces.extension import confirmed

        joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
        return self._continue(
            format_call(
                "confirm",
                str(self.dir),
                seeds=seeds,
                searches=searches,
                configs=configs,
                data=data,
                **asdict(joined),
                log_to=log_to,
            ),
            change=lambda study: confirmed(study, seeds=seeds, searches=searches, configs=configs),
            regain_models=False,
            data=data,
            joined=joined,
            log_to=log_to,
        )

    def evaluate(
        self,
        axes: Sequence[str] | None = None,
        *,
        trials: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        data: str | None = None,
        address: str | None = None,
        insecure: bool = False,
        strict_nodes: bool = False,
        max_trials: int | None = None,
        start_timeout: float | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
    ) -> pd.DataFrame:
        """Measure trained models on the evaluation axes and return the values; a recorded measurement is not repeated.

        Args:
            axes: names of axes, for example ``["calibration", "ood"]``; None: all applicable axes
                except captioning, detection and transfer.
            trials: names of trials, or ``["search"]`` for all completed search trials; None: confirmation trials.
            settings: values that override settings of the axes, for example ``{"ood.n_images": 500}``.
            data: present place of the sweep's images if they were moved, for example ``imagefolder:photos``.
            address: Ray cluster to join; None: start Ray on this machine.
            insecure: whether a cluster is joined that asks for no token although other machines can reach it.
            strict_nodes: whether one node that cannot run measurements refuses them; otherwise it gets none.
            max_trials: largest number of measurements at the same time; None: as many as fit on the nodes.
            start_timeout: longest wait for the first node of a cluster, in minutes; None: 10, in a Ray job no limit.
            cpus: CPU cores and threads per measurement; None: as per trial of the sweep.
            gpus: GPUs per measurement; None: as per trial of the sweep.

        Returns:
            One row per trial, axis, condition and metric.

        Raises:
            UserError: a trial, an axis or a setting does not exist or is not applicable; nothing was started.
            EvaluationInterrupted: by Ctrl-C or the stop button; the same call measures the rest.
        """
        from sweep.evaluation.evaluate import evaluate_sweep

        display = choose_display()
        with opened(self.dir, write=True, show_status=display.show_status) as sweep:
            evaluated = evaluate_sweep(
                sweep.path,
                axes=None if axes is None else as_list(axes),
                trials=None if trials is None else as_list(trials),
                settings=list_settings(settings),
                data=data,
                joined=Joined(address, insecure, strict_nodes, max_trials, start_timeout),
                cpus=cpus,
                gpus=gpus,
                command=format_call(
                    "evaluate",
                    str(self.dir),
                    axes=axes,
                    trials=trials,
                    settings=settings,
                    data=data,
                    cpus=cpus,
                    gpus=gpus,
                ),
                display=display,
            )
        for failed in evaluated.failures.to_dict("records"):
            display.show_warning(f"{failed['axis']} of {failed['trial']} failed: {reason_in_one_line(failed['why'])}")
        return evaluated.evaluations

    def report(self, *, to: Folder | None = None, notebook: str | None = None) -> Path:
        """Write one HTML page with the verdict, figures and tables; return its path. Needs the extra ``report``.

        Args:
            to: folder of the report; None: ``report`` in the folder of the sweep, or in the current folder if the sweep
                is in an object store.
            notebook: notebook to run, a name or the path of an ``.ipynb`` file; None: the one of the sweep's study.

        Raises:
            UserError: the extra is not installed.
            RecordsError: there is no such notebook, or ``to`` is not a folder.
            NotebookFailedError: a cell of the notebook raised an error.
        """
        from trainables.extras import check_extra

        check_extra("report", needed_by="Sweep.report")
        from analysis.report.write import REPORT, write_report

        with opened(self.dir) as sweep, choose_display().show_status("running the notebook"):
            folder = Path(to) if to is not None else None if sweep.path == sweep.place else Path(REPORT)
            return write_report([sweep.path], to=folder, notebook=notebook, unfinished=describe_unfinished)

    def export(self, format: str = "csv", *, to: Folder | None = None) -> list[Path]:
        """Write the records for other tools and return the paths of the files.

        Args:
            format: csv, parquet, optuna or tensorboard.
            to: folder of the files; None: ``export`` in the folder of the sweep, or in the current folder if the sweep
                is in an object store.

        Raises:
            UserError: there is no such format.
        """
        from sweep.export.formats import export_sweep
        from sweep.export.recorded import EXPORT

        with opened(self.dir) as sweep:
            return export_sweep(sweep.path, Path(to or output_folder(sweep.path, EXPORT)), format)

    def model(self, trial: str) -> SavedModel:
        """Load the model of a completed trial; ``.model`` maps images in [0, 1] to logits.

        Raises:
            UserError: there is no such trial, or the trial has no model.
        """
        from sweep.models import load_trial

        with opened(self.dir) as sweep:
            return load_trial(sweep.path, trial)

    def _continue(self, command: str, *, log_to: Sequence[str], **options: Any) -> Sweep:
        """Resume the sweep with options of ``resume_sweep``."""
        from sweep.launch import resume_sweep

        display = choose_display()
        with opened(self.dir, write=True, show_status=display.show_status) as sweep, says_how_to_resume():
            resume_sweep(sweep.path, command=command, display=display, log_to=as_list(log_to), **options)
        return self

    def __repr__(self) -> str:
        """Return the call that loads the sweep."""
        return f"cutmix_sweep.load({str(self.dir)!r})"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()


@contextlib.contextmanager
def says_how_to_resume() -> Iterator[None]:
    """Add to the message of a sweep that ended early how to resume it in Python."""
    try:
        yield
    except SweepEnded as error:
        options = {"settings": error.settings, **asdict(error.joined), "retry_failed": error.retry_failed}
        error.add_note(f"in Python: {format_call('resume', shown(str(error.sweep_dir)), **options)}")
        raise


def as_list(names: str | Sequence[str]) -> list[str]:
    """Return names as a list; a single name may be given as it is.

    Examples:
        >>> as_list("calibration"), as_list(("calibration", "ood"))
        (['calibration'], ['calibration', 'ood'])
    """
    return [names] if isinstance(names, str) else list(names)


def list_settings(settings: Mapping[str, Any] | None, **shorthands: Any) -> list[str]:
    """Return settings as on the command line; ``settings`` override the shorthands.

    Raises:
        UserError: both ``gpus`` and ``trials_per_gpu`` are given.

    Examples:
        >>> list_settings({"budget.trials": 8, "base.data.source": "digits"}, data="imagefolder:photos", cpus=2)
        ['base.data.source="digits"', 'resources.cpus=2', 'budget.trials=8']
    """
    check_one_share(shorthands.get("gpus"), shorthands.get("trials_per_gpu"))
    of_trial = {name: f"resources.{name}" for name in ("cpus", "gpus", "trials_per_gpu", "workers")}
    paths = {"data": "base.data.source", **of_trial, "seed": "seed"}
    values = {paths[name]: value for name, value in shorthands.items() if value is not None} | dict(settings or {})
    return [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in values.items()]


def format_call(function: str, *arguments: str, **options: Any) -> str:
    """Return a call of ``cutmix_sweep`` as it is recorded, without options that are None, False or empty.

    Examples:
        >>> format_call("resume", "sweeps/box", address=None, retry_failed=True)
        "cutmix_sweep.resume('sweeps/box', retry_failed=True)"
        >>> format_call("run", "quickstart", seed=0, log_to=())
        "cutmix_sweep.run('quickstart', seed=0)"
    """
    is_number = {name: type(value) in (int, float) for name, value in options.items()}
    given = [f"{name}={value!r}" for name, value in options.items() if value or is_number[name]]
    return f"cutmix_sweep.{function}({', '.join([*map(repr, arguments), *given])})"
