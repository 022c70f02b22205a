"""Start and resume sweeps: check everything first, then start Ray."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.own_parts import own_parts
from search_spaces.study import Study
from sweep.display import SILENT, Display
from sweep.endings import HERE, DiskFault, FolderLost, Joined, NotBegun, resume_command, user_message
from sweep.formats import printable
from sweep.gpu_share import measure_on_node, with_measured_share
from sweep.images import (
    check_same_images,
    present_places,
    read_contents,
    recorded_places,
    show_duplicates,
    sources_of,
    with_images,
)
from sweep.jobs import metadata_of
from sweep.log_to import LogTo, parse_log_to
from sweep.mirrored import describe_requests, mirror_of, shown
from sweep.new_folder import check_no_sweep, made, new_folder
from sweep.node_checker import NodeChecker, checked_nodes, remove_signs
from sweep.node_record import follow_nodes, with_nodes
from sweep.notices import Notices, notify_url
from sweep.preparation import prepare
from sweep.ray_job import described_job
from sweep.records.errors import RecordsError
from sweep.records.parts import COPIES
from sweep.records.reader import read_manifest
from sweep.records.schema import MANIFEST, RECORDS, TABLES
from sweep.request_files import INBOX
from sweep.run_log import LoggedDisplay
from sweep.signals import catch_signals, current_signals
from sweep.slots import Slots, start_patience_s
from trainables.data.places import images_at
from trainables.data.sources.base import SPLITS
from trainables.own_part import OwnPart, shipped_paths
from trainables.whole_file import remove_abandoned

ABANDONED_AFTER_S = 60.0
"""Age of a half-written model or checkpoint in a sweep that no process runs: workers outlive a driver by seconds."""

PROBE_S = 600.0
"""Longest measurement of the number of trials that share a GPU, seconds."""

if TYPE_CHECKING:
    from ray.tune import Callback

    from sweep.conductor import Conductor
    from sweep.lock import Lock
    from sweep.loggers.base import LiveLogger
    from sweep.watch import Watch

    Loggers = Sequence[tuple[LogTo, LiveLogger]]


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Catch signals; before the first trial they end the sweep at once, later at the end of a step of Tune."""
    with catch_signals() as signals:
        try:
            yield
        except KeyboardInterrupt:
            if signals.deferred:  # a second signal
                raise
            raise NotBegun(signals.signum or signal.SIGINT) from None


@_interruptible()
def start_sweep(
    study: Study,
    *,
    out: Path | None = None,
    joined: Joined = HERE,
    download: bool = False,
    command: str = "sweep.launch.start_sweep",
    display: Display = SILENT,
    log_to: Sequence[str] = (),
    project: Path | None = None,
) -> Path:
    """Run a study in a new folder and return the folder, which is removed again if the cluster cannot be reached.

    Args:
        study: the study, for example from ``search_spaces.discover.load_study``.
        out: folder of the sweep, new or empty; None: ``sweeps/STUDY-TIME``.
        joined: cluster of the run; by default Ray is started on this machine.
        download: whether missing public data are downloaded.
        command: how the sweep was started, for the manifest.
        display: shows the progress.
        log_to: live loggers, for example ``wandb:cutmix``.
        project: folder of the user's project, whose commit is recorded; None: the working directory.

    Raises:
        UserError: the study, its data, the folder, a logger or the cluster cannot be used.
        EndedEarly: a signal, a limit of the budget or a full disk ended the sweep; it can be resumed.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> sweep_dir = start_sweep(load_study("quickstart", scale="smoke"), out=Path("demo"))  # doctest: +SKIP
    """
    from sweep.conductor import Conductor
    from sweep.lock import locked
    from sweep.manifest import new_manifest, with_run, with_share
    from sweep.records.writer import write_manifest

    started_s, display = time.monotonic(), LoggedDisplay(display)
    notify = notify_url()
    sweep_dir, targets = new_folder(study, out), parse_log_to(log_to)
    loggers = _open_loggers(targets, sweep_dir, study)
    fingerprints = prepare(study, joined=joined, download=download, display=display)
    show_duplicates(study, display.show_warning)
    with contextlib.ExitStack() as stack:
        stack.enter_context(made(sweep_dir))
        stack.enter_context(described_job(metadata_of(study, shown(str(sweep_dir)))))
        slots = stack.enter_context(_cluster(study, own_parts(study), joined, display))
        # before signals are deferred: it may wait for git, and without it there is nothing to resume
        manifest = new_manifest(study, sweep_dir, command, fingerprints)
        images = {source: source for source in fingerprints}
        manifest = with_run(manifest, command, project=project, images=images, joined=joined)
        checking = checked_nodes(
            study,
            sweep_dir,
            manifest,
            joined=joined,
            display=display,
            read=slots.living,
        )
        checker = stack.enter_context(checking)
        manifest = with_nodes(manifest, checker.nodes if checker else None)
        unfit, patience_s = checker.nodes.unfit if checker else (), start_patience_s(joined.start_timeout)
        asked, study = (
            study,
            with_measured_share(
                study, display, lambda asked: measure_on_node(asked, unfit=unfit, timeout_s=PROBE_S + patience_s)
            ),
        )
        if study is not asked:
            slots.use(study.resources)
            manifest = with_share(manifest, study)
        lock = stack.enter_context(locked(sweep_dir, show_status=display.show_status))
        check_no_sweep(sweep_dir)  # another process may have run one there while Ray started here
        _remove_abandoned(sweep_dir)
        _defer_signals(sweep_dir, joined)
        write_manifest(sweep_dir, manifest)
        with display.log_run(sweep_dir, manifest["runs"][-1]):
            run = _Run(sweep_dir, slots, joined, display, loggers, started_s, notify, lock, checker)
            run.run(Conductor(study, sweep_dir, warn=display.show_warning))
    return sweep_dir


@_interruptible()
def resume_sweep(
    sweep_dir: Path,
    *,
    data: str | None = None,
    joined: Joined = HERE,
    retry_failed: bool = False,
    command: str = "sweep.launch.resume_sweep",
    display: Display = SILENT,
    change: Callable[[Study], Study] | None = None,
    regain_models: bool = True,
    log_to: Sequence[str] = (),
) -> None:
    """Resume an interrupted sweep, or continue a sweep whose study is changed so that there is more to do.

    Args:
        sweep_dir: folder of the sweep.
        data: present place of the images if they were moved, for example ``imagefolder:photos``; None: where the last
            run read them.
        joined: cluster of the run; by default Ray is started on this machine.
        retry_failed: whether failed trials are restarted.
        command: how the sweep was resumed, for the manifest.
        display: shows the progress.
        change: returns the changed study; see ``search_spaces.extension``.
        regain_models: whether completed trials are run again whose model is damaged or missing.
        log_to: live loggers, for example ``wandb:cutmix``.

    Raises:
        UserError: there is no sweep, it is in use, its data are gone or different, or the change is not possible.
        RecordsError: the study in ``sweep.json`` was edited, or the file cannot be restored.
        EndedEarly: a signal, a limit of the budget or a full disk ended the sweep; it can be resumed.

    Examples:
        >>> resume_sweep(Path("demo"))  # doctest: +SKIP
    """
    from sweep.conductor import Conductor
    from sweep.lock import locked
    from sweep.manifest import add_part_folders, check_unchanged, read_study, with_parts, with_run, with_study
    from sweep.records.repair import repair_records
    from sweep.records.study_edits import check_study, check_study_of_parts
    from sweep.records.writer import write_manifest

    started_s, display = time.monotonic(), LoggedDisplay(display)
    sweep_dir, targets, notify = Path(os.path.realpath(sweep_dir)), parse_log_to(log_to), notify_url()
    check_study(sweep_dir)
    read_manifest(sweep_dir)
    with locked(sweep_dir, show_status=display.show_status) as lock, contextlib.ExitStack() as stack:
        _remove_abandoned(sweep_dir, signs=True)
        manifest = read_manifest(sweep_dir)
        for warning in add_part_folders(manifest, sweep_dir):
            display.show_warning(warning)
        study = read_study(manifest, sweep_dir)
        if change is not None:
            study = change(study)
            manifest = with_study(manifest, study)
        parts = own_parts(study)
        for warning in check_unchanged(manifest, parts, sweep_dir):
            display.show_warning(warning)
        places = present_places(manifest, sources_of(study), data)
        stack.enter_context(images_at(places))

        def check_images() -> None:
            recorded, splits = manifest["data"], SPLITS[:1] if study.confirm is None else SPLITS
            with display.show_status("comparing the images with those that the sweep was started with"):
                check_same_images(recorded, read_contents(recorded, places, splits), places, sweep_dir)

        fingerprints = prepare(study, joined=joined, download=False, display=display, check_images=check_images)
        check_same_images(manifest["data"], fingerprints, places, sweep_dir)
        for finding in repair_records(sweep_dir):
            display.show_warning(finding.describe())
        recorded = read_manifest(sweep_dir)  # the repair may have brought it to the present version
        check_study_of_parts(sweep_dir, recorded)
        manifest = {**manifest, "runs": recorded["runs"]}
        with display.show_status("reading the records and checking the models"):
            conductor = Conductor(
                study,
                sweep_dir,
                retry_failed=retry_failed,
                regain_models=regain_models,
                repaired=True,
                warn=display.show_warning,
            )
        if not conductor.n_left:
            display.show_line(f"all {conductor.n_trials} trials of '{sweep_dir}' have ended: nothing to resume")
            return
        loggers = _open_loggers(targets, sweep_dir, study)
        with (
            described_job(metadata_of(study, shown(str(sweep_dir)))),
            _cluster(study, parts, joined, display) as slots,
            contextlib.ExitStack() as of_cluster,
        ):
            images = {source: place.source for source, place in places.items()}
            manifest = with_parts(with_images(manifest, fingerprints), parts)
            manifest = with_run(manifest, command, images=images, joined=joined)
            checking = checked_nodes(
                study,
                sweep_dir,
                manifest,
                joined=joined,
                display=display,
                read=slots.living,
            )
            checker = of_cluster.enter_context(checking)
            manifest = with_nodes(manifest, checker.nodes if checker else None)
            _defer_signals(sweep_dir, joined)
            # written only now: a cluster that cannot be reached must not leave a changed study behind
            write_manifest(sweep_dir, manifest)
            with display.log_run(sweep_dir, manifest["runs"][-1]):
                run = _Run(sweep_dir, slots, joined, display, loggers, started_s, notify, lock, checker)
                run.run(conductor)


def _cluster(study: Study, parts: Sequence[OwnPart], joined: Joined, display: Display) -> AbstractContextManager[Slots]:
    """Return the context of a Ray that is up for the trials of a study."""
    from sweep.engine import cluster

    return cluster(
        study.resources,
        address=joined.address,
        display=display,
        modules=shipped_paths(parts),
        start_timeout_s=start_patience_s(joined.start_timeout),
    )


def _remove_abandoned(sweep_dir: Path, *, signs: bool = False) -> None:
    """Remove half-written files of processes that were killed; the sweep must be locked.

    Args:
        sweep_dir: folder of the sweep.
        signs: whether to remove what checks of nodes have left too; no check may run.
    """
    from sweep.ledger import checkpoint_path, weights_path

    records = [sweep_dir / RECORDS / folder / table for folder in ("", COPIES) for table in ("", *TABLES)]
    remove_abandoned(sweep_dir, name=MANIFEST, after_s=0.0)  # only the process with the lock writes there
    for folder in records:
        remove_abandoned(folder, after_s=0.0)
    for folder in (sweep_dir / INBOX, checkpoint_path(sweep_dir, "").parent, weights_path(sweep_dir, "").parent):
        remove_abandoned(folder, after_s=ABANDONED_AFTER_S)
    if signs:
        remove_signs(sweep_dir)


def _defer_signals(sweep_dir: Path, joined: Joined) -> None:
    """From now on a signal ends the sweep after a step of Tune, with a resumable sweep in the folder."""
    current_signals().defer()
    command = resume_command(sweep_dir, joined.address, *joined.options)
    current_signals().bound(printable(f"interrupted; resume with: {command}"))


def _open_loggers(targets: Sequence[LogTo], sweep_dir: Path, study: Study) -> Loggers:
    if not targets:
        return []
    from sweep.tune_loggers import open_logger

    return [(target, open_logger(target, sweep_dir, study=study.name)) for target in targets]


@dataclass(frozen=True)
class _Run:
    """One run of a sweep on a cluster that is up."""

    sweep_dir: Path
    slots: Slots
    joined: Joined
    display: Display
    loggers: Loggers
    started_s: float
    notify_url: str | None
    lock: Lock
    checker: NodeChecker | None

    def run(self, conductor: Conductor) -> None:
        """Run the trials, and say how the run ended to the webhook and, by an error, to the caller."""
        from sweep.steering import Steering
        from sweep.watch import Watch

        conductor.max_trials = self.joined.max_trials
        if self.checker is not None:
            conductor.nodes = self.slots.nodes = self.checker.nodes
            self.slots.update(now=True)
        follow_nodes(conductor.nodes, self.sweep_dir, self.display.show_warning)
        self.display.show_line(
            f"{conductor.study.name}: {conductor.n_left} of {conductor.n_trials} trials to run, "
            f"{self.slots.describe(self.joined.max_trials)}, records in {self.sweep_dir}"
        )
        notices = Notices(self.notify_url, sweep=self.sweep_dir.name, warn=self.display.show_warning)
        watch = Watch(
            conductor,
            self.sweep_dir,
            joined=self.joined,
            signals=current_signals(),
            notices=notices,
            started_s=self.started_s,
            lock=self.lock,
            steering=Steering(
                conductor, self.sweep_dir, joined=self.joined, lock=self.lock, show=self.display.show_warning
            ),
            warn=self.display.show_warning,
        )
        try:
            try:
                self._run_trials(conductor, watch)
            finally:
                self._record_requests(conductor)
            ending = watch.ending()
        except Exception as error:
            watch.on_error(error)
            raise
        finally:
            notices.close()
        if ending is not None:
            raise ending

    def _record_requests(self, conductor: Conductor) -> None:
        """Record and show the requests to an object store, if the sweep is in one."""
        from sweep.lock import LockLost
        from sweep.records.writer import write_manifest

        mirror = mirror_of(self.sweep_dir)
        if mirror is None:
            return
        requests = mirror.requests()
        self.display.show_line(describe_requests(requests, n_trials=len(conductor.entries)))
        with contextlib.suppress(LockLost, RecordsError, OSError):  # the error that ends the run says more
            manifest = read_manifest(self.sweep_dir)
            runs = [*manifest["runs"][:-1], {**manifest["runs"][-1], "storage": requests}]
            write_manifest(self.sweep_dir, {**manifest, "runs": runs})

    def _run_trials(self, conductor: Conductor, watch: Watch) -> None:
        from sweep.engine import run_trials
        from sweep.metrics import SweepMetrics
        from sweep.tune_metrics import MetricsCallback
        from sweep.worker_names import named_workers

        warn = self.display.show_warning
        metrics = SweepMetrics(conductor, storage=shown(str(self.sweep_dir)), warn=warn)
        callbacks: list[Callback] = [MetricsCallback(metrics)]
        if self.loggers:
            from sweep.tune_loggers import open_callbacks

            callbacks += open_callbacks(self.loggers, conductor, self.sweep_dir, self.display)

        def poll() -> None:
            if self.checker is not None:
                self.checker.poll()
            metrics.update()

        try:
            # suppressed: a second Ctrl-C while Tune ends, in a notebook
            with contextlib.suppress(KeyboardInterrupt), named_workers(self.sweep_dir.name):
                run_trials(
                    self.sweep_dir,
                    conductor,
                    slots=self.slots,
                    display=self.display,
                    callbacks=callbacks,
                    watch=watch,
                    places=recorded_places(read_manifest(self.sweep_dir)),
                    poll=poll,
                )
        except OSError as error:
            if not self.sweep_dir.exists():
                raise FolderLost(self.sweep_dir) from error
            if user_message(error) is not None:
                raise DiskFault(error, self.sweep_dir, self.joined) from error
            if current_signals().signum is None:  # a terminal that has closed cannot be written to
                raise
