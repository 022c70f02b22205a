"""Start, continue and load sweeps from Python: the functions of ``cutmix_sweep`` with these names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from search_spaces.study import Study
    from sweep.notebook.handle import Folder, Sweep
    from sweep.notebook.reproduction import Reproduction
    from sweep.storage import Opened

    StudyLike = str | Path | Mapping[str, Any] | Study


def run(
    study: StudyLike,
    *,
    scale: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | None = None,
    download: bool = False,
    address: str | None = None,
    insecure: bool = False,
    strict_nodes: bool = False,
    max_trials: int | None = None,
    start_timeout: float | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    trials_per_gpu: int | Literal["auto"] | None = None,
    workers: int | None = None,
    seed: int | None = None,
    out: Folder | None = None,
    log_to: Sequence[str] = (),
) -> Sweep:
    """Search each arm of a study, confirm the winners if the study says so, and return the sweep.

    Args:
        study: name of a built-in study, path of a YAML file, the values of such a file as a dict, or a ``Study``.
        scale: size of the sweep: smoke, laptop, gpu or paper; None: as in the study.
        settings: values that override the study, by dotted path, for example ``{"budget.trials": 8}``.
        data: data source, for example ``imagefolder:photos``; overrides ``base.data.source``.
        download: whether missing public data are downloaded.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.
        strict_nodes: whether one node that cannot run trials refuses the run; otherwise it gets no trials.
        max_trials: largest number of trials at the same time; None: as many as fit on the nodes.
        start_timeout: longest wait for the first node of a cluster, in minutes; None: 10, in a Ray job no limit.
        cpus: CPU cores and threads per trial, or per worker.
        gpus: GPUs per trial, may be a fraction, or per worker.
        trials_per_gpu: trials that share a GPU, or ``auto``: measured at the start; in place of ``gpus``.
        workers: workers that train each trial together, each with ``cpus`` and ``gpus``.
        seed: seed of all random draws.
        out: folder of the sweep, new or empty, or an address such as ``s3://bucket/sweeps/box``; None:
            ``sweeps/STUDY-TIME``.
        log_to: live loggers, for example ``["wandb:cutmix"]``.

    Raises:
        UserError: the study, its data, the folder, a logger or the cluster cannot be used; nothing was started.
        EndedEarly: Ctrl-C, the stop button of a notebook, a limit of the budget or a full disk ended it; the message
            says how to continue. ``Interrupted`` if trials had begun.

    Examples:
        >>> sweep = run("quickstart", scale="smoke", out="demo")  # doctest: +SKIP
    """
    from search_spaces.discover import folder_of, load_study
    from sweep.endings import Joined
    from sweep.launch import start_sweep
    from sweep.notebook.display import choose_display
    from sweep.notebook.handle import Sweep, as_list, format_call, list_settings, says_how_to_resume
    from sweep.storage import opened, place_of

    shares = {"gpus": gpus, "trials_per_gpu": trials_per_gpu}
    shorthands = {"data": data, "cpus": cpus, **shares, "workers": workers, "seed": seed}
    loaded = load_study(study, scale=scale, settings=list_settings(settings, **shorthands))
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    options = {"scale": scale, "settings": settings, **shorthands, "download": download, **asdict(joined)}
    called = str(study) if isinstance(study, str | Path) else loaded.name
    display = choose_display()
    place: AbstractContextManager[Opened | None]
    place = nullcontext() if out is None else opened(out, write=True, new=True, show_status=display.show_status)
    with place as folder, says_how_to_resume():
        sweep_dir = start_sweep(
            loaded,
            out=None if folder is None else folder.path,
            joined=joined,
            download=download,
            command=format_call("run", called, **options, out=out and str(place_of(out)), log_to=log_to),
            display=display,
            log_to=as_list(log_to),
            project=folder_of(study),
        )
    return Sweep(folder.place if folder else sweep_dir)


def resume(
    sweep_dir: Folder,
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
    """Resume an interrupted sweep and return it; no trial is lost or repeated.

    Args:
        sweep_dir: folder of the sweep.
        settings: other limits of the sweep by dotted path, for example ``{"budget.limits.gpu_hours": 8}``.
        data: present place of the images if they were moved, for example ``imagefolder:photos``; None: where the last
            run read them.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.
        strict_nodes: whether one node that cannot run trials refuses the run; otherwise it gets no trials.
        max_trials: largest number of trials at the same time; None: as many as fit on the nodes.
        start_timeout: longest wait for the first node of a cluster, in minutes; None: 10, in a Ray job no limit.
        retry_failed: whether failed trials are restarted.
        no_models: whether completed trials are left as they are whose model is damaged or missing.
        log_to: live loggers, for example ``["wandb:cutmix"]``.

    Raises:
        UserError: there is no sweep, it is in use, or its data are gone or different.
        EndedEarly: Ctrl-C, the stop button of a notebook, a limit of the budget or a full disk ended it; the message
            says how to continue. ``Interrupted`` if trials had begun.

    Examples:
        >>> resume("demo")  # doctest: +SKIP
    """
    return load(sweep_dir).resume(
        settings=settings,
        data=data,
        address=address,
        insecure=insecure,
        strict_nodes=strict_nodes,
        max_trials=max_trials,
        start_timeout=start_timeout,
        retry_failed=retry_failed,
        no_models=no_models,
        log_to=log_to,
    )


def extend(
    sweep_dir: Folder,
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
    """Add trials, searches, seeds or arms to a sweep, run them, and return the sweep; no trial is repeated.

    Args:
        sweep_dir: folder of the sweep.
        add_trials: trials to add to each search.
        add_searches: independent searches to add per arm.
        add_seeds: seeds to add per confirmed configuration.
        add_arms: arms to add: presets, or arms by name as in a study file.
        data: present place of the images if they were moved, for example ``imagefolder:photos``; None: where the last
            run read them.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.
        strict_nodes: whether one node that cannot run trials refuses the run; otherwise it gets no trials.
        max_trials: largest number of trials at the same time; None: as many as fit on the nodes.
        start_timeout: longest wait for the first node of a cluster, in minutes; None: 10, in a Ray job no limit.
        log_to: live loggers, for example ``["wandb:cutmix"]``.

    Raises:
        UserError: nothing is added, or the result is not a valid study.
        EndedEarly: Ctrl-C, the stop button of a notebook, a limit of the budget or a full disk ended it; the message
            says how to continue. ``Interrupted`` if trials had begun.

    Examples:
        >>> extend("demo", add_arms=["fmix"])  # doctest: +SKIP
    """
    return load(sweep_dir).extend(
        add_trials=add_trials,
        add_searches=add_searches,
        add_seeds=add_seeds,
        add_arms=add_arms,
        data=data,
        address=address,
        insecure=insecure,
        strict_nodes=strict_nodes,
        max_trials=max_trials,
        start_timeout=start_timeout,
        log_to=log_to,
    )


def confirm(
    sweep_dir: Folder,
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
    """Train each search's winners again on fresh seeds, measure them on the test images, and return the sweep.

    Args:
        sweep_dir: folder of the sweep.
        seeds: total seeds per configuration, including those already confirmed.
        searches: independent searches per arm to divide the trials of an unconfirmed sweep into; None: as in the study,
            otherwise 1.
        configs: best configurations per search to confirm; None: as in the study, otherwise 1.
        data: present place of the images if they were moved, for example ``imagefolder:photos``; None: where the last
            run read them.
        address: Ray cluster to join, ``auto`` or ``HOST:PORT``; None: start Ray on this machine.
        insecure: whether a cluster is joined that asks for no token although other machines can reach it.
        strict_nodes: whether one node that cannot run trials refuses the run; otherwise it gets no trials.
        max_trials: largest number of trials at the same time; None: as many as fit on the nodes.
        start_timeout: longest wait for the first node of a cluster, in minutes; None: 10, in a Ray job no limit.
        log_to: live loggers, for example ``["wandb:cutmix"]``.

    Raises:
        UserError: the study confirms more than that already, or its trials cannot be divided into searches.
        EndedEarly: Ctrl-C, the stop button of a notebook, a limit of the budget or a full disk ended it; the message
            says how to continue. ``Interrupted`` if trials had begun.

    Examples:
        >>> confirm("demo", seeds=5)  # doctest: +SKIP
    """
    return load(sweep_dir).confirm(
        seeds=seeds,
        searches=searches,
        configs=configs,
        data=data,
        address=address,
        insecure=insecure,
        strict_nodes=strict_nodes,
        max_trials=max_trials,
        start_timeout=start_timeout,
        log_to=log_to,
    )


def reproduce(
    table: str,
    *,
    out: Folder,
    scale: str = "paper",
    settings: Mapping[str, Any] | None = None,
    data: Sequence[str] = (),
    download: bool = False,
    address: str | None = None,
    insecure: bool = False,
    strict_nodes: bool = False,
    max_trials: int | None = None,
    start_timeout: float | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    trials_per_gpu: int | Literal["auto"] | None = None,
    workers: int | None = None,
    seed: int | None = None,
    show: bool = False,
) -> Reproduction:
    """Compute a table of the paper again, and return own values beside the published ones.

    The other options are those of ``run``. The same call continues where it ended.

    Args:
        table: name of the table, for example ``ablation``.
        out: folder that gets one sweep per study, or its address in an object store.
        scale: size of the sweeps; only ``paper`` is comparable with the published numbers.
        settings: values that override all studies, by dotted path. A path that begins with the name of a study changes
            this study alone; one that begins with an axis changes a setting of the axis.
        data: data sources; each replaces the source of the same name, or all sources if none has its name.
        show: whether the table is shown as far as its sweeps have come; nothing is started then.

    Raises:
        UserError: the table, an option or the data cannot be used; nothing was started.
        EndedEarly: Ctrl-C, the stop button of a notebook, a limit of the budget or a full disk ended it.

    Examples:
        >>> reproduce("ablation", scale="smoke", out="paper")  # doctest: +SKIP
    """
    from search_spaces.table import load_parts
    from sweep.endings import Joined
    from sweep.notebook.display import choose_display
    from sweep.notebook.handle import as_list, format_call, list_settings
    from sweep.notebook.reproduction import Reproduction
    from sweep.reproduce import run_parts
    from sweep.storage import place_of

    shorthands = {"cpus": cpus, "gpus": gpus, "trials_per_gpu": trials_per_gpu, "workers": workers, "seed": seed}
    changes = list_settings(settings, **shorthands)
    parts = load_parts(table, scale=scale, settings=changes, data=as_list(data))
    joined = Joined(address, insecure, strict_nodes, max_trials, start_timeout)
    if not show:
        options = {"scale": scale, "settings": settings, "data": data, **shorthands, "download": download}
        command = format_call("reproduce", table, out=str(place_of(out)), **options, **vars(joined))
        run_parts(parts, Path(out), joined=joined, download=download, command=command, display=choose_display())
    return Reproduction(table, parts, Path(out))


def load(sweep_dir: Folder) -> Sweep:
    """Return the sweep in a folder or at an address, which may be running, interrupted or complete.

    Raises:
        RecordsError: there is no sweep.

    Examples:
        >>> load("no-such-folder")
        Traceback (most recent call last):
        ...
        sweep.records.errors.RecordsError: no sweep in 'no-such-folder': there is no such folder
    """
    from sweep.notebook.handle import Sweep

    return Sweep(sweep_dir)
