"""Show what studies would run, from Python: the functions of ``cutmix_sweep`` with these names; they start nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from search_spaces.study import Study
    from sweep.notebook.handle import Folder
    from sweep.notebook.views import PlanView, PreviewView

    StudyLike = str | Path | Mapping[str, Any] | Study


def studies() -> list[str]:
    """Return the names of the built-in studies.

    Examples:
        >>> "quickstart" in studies()
        True
    """
    from search_spaces.discover import built_in_studies

    return built_in_studies()


def plan(
    study: StudyLike,
    *,
    scale: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    trials_per_gpu: int | Literal["auto"] | None = None,
    workers: int | None = None,
    seed: int | None = None,
    measure: bool = False,
) -> PlanView:
    """Return what a study would run on this machine: arms, trials, epochs, dose and time; start nothing.

    The options are those of ``run``. With ``measure``, several trials are measured at the same time: the attribute
    ``measured`` has their speed, their memory, and the proposed number of trials per GPU.

    Raises:
        UserError: the study or its data cannot be used.

    Examples:
        >>> plan("quickstart", scale="smoke").n_trials  # doctest: +SKIP
        8
    """
    from search_spaces.discover import load_study
    from sweep.images import show_duplicates
    from sweep.notebook.display import choose_display
    from sweep.notebook.handle import list_settings
    from sweep.notebook.views import PlanView
    from sweep.plan import make_plan

    shares = {"gpus": gpus, "trials_per_gpu": trials_per_gpu}
    changes = list_settings(settings, data=data, cpus=cpus, **shares, workers=workers, seed=seed)
    loaded = load_study(study, scale=scale, settings=changes)
    display = choose_display()
    with display.show_status("measuring the training speed and the dose of each arm"):
        planned = make_plan(loaded, measure=measure)
    for note in planned.notes:
        display.show_warning(note)
    show_duplicates(loaded, display.show_warning)
    return PlanView(**vars(planned), study=loaded)


def preview(
    name: str,
    *,
    scale: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    seed: int | None = None,
    samples: int = 6,
    out: Folder | None = None,
) -> PreviewView:
    """Write one PNG picture with mixed samples, labels and coverage for each arm; a notebook shows it.

    Args:
        name: study, study file or preset to preview, for example cutmix.
        scale: size of the sweep, which sets the data; None: as in the study.
        settings: values that override the study, by dotted path.
        data: data source, for example ``imagefolder:photos``.
        seed: seed of all random draws.
        samples: images per arm.
        out: file to write; None: ``preview-NAME.png``.

    Raises:
        UserError: there is no such study or preset, or its data cannot be used.

    Examples:
        >>> preview("cutmix", samples=4).path  # doctest: +SKIP
        PosixPath('preview-cutmix.png')
    """
    from sweep.notebook.display import choose_display
    from sweep.notebook.handle import list_settings
    from sweep.notebook.views import PreviewView
    from sweep.preview import load_previewed, write_preview

    study = load_previewed(name, scale=scale, settings=list_settings(settings, data=data, seed=seed))
    path = Path(out or f"preview-{study.name}.png")
    with choose_display().show_status("mixing the samples"):
        write_preview(study, path, n_samples=samples)
    return PreviewView(path)
