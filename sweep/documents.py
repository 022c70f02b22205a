"""Results of the verbs as documents: what ``--json`` prints, and what a program receives.

The models of the documents, and with them their schemas, are in ``document_models``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.document_models import (
    ArmPlan,
    ArmStatus,
    CheckDocument,
    CheckProblem,
    ConfirmedConfigurations,
    DiskUse,
    DoctorCheck,
    DoctorDocument,
    Document,
    DriverStatus,
    EvaluateDocument,
    Extremes,
    Failure,
    GpuMemory,
    LeftOutNode,
    MeasuredMean,
    MeasuredSpeed,
    MeasuredTrials,
    MeasuredValue,
    MeasurementFailure,
    NetworkPlan,
    PlanDocument,
    PlannedPower,
    SearchWinner,
    StatusDocument,
    StudiesDocument,
    StudyArm,
    StudyAtScale,
    StudyEntry,
    TrialsDocument,
    TrialsToRun,
    UnverifiedFiles,
)
from sweep.records.schema import STATUSES
from trainables.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from search_spaces.study import Study
    from sweep.check import Problem, SweepCheck
    from sweep.disk_room import DiskRoom
    from sweep.doctor import Check
    from sweep.driver import Driver
    from sweep.evaluation.evaluate import Evaluated
    from sweep.gpu_room import GpuRoom
    from sweep.plan import Plan
    from sweep.power import Power
    from sweep.probe import ProbeResult


def status_document(sweep_dir: Path | str, *, find: Callable[[Path], Driver | None] | None = None) -> dict[str, Any]:
    """Return the progress and the results of a sweep, at any instant; see ``StatusDocument``.

    Args:
        sweep_dir: folder of the sweep.
        find: returns the process that runs the sweep; None: it is looked for, which may take ``EXPIRY_S``.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
    """
    from sweep.findings.gpu_memory import describe_gpu_memory
    from sweep.findings.searches import n_searches
    from sweep.manifest import command_to_resume
    from sweep.node_record import left_out_nodes
    from sweep.status import ENDED, INTERRUPTED, read_status

    sweep_dir = Path(sweep_dir)
    status = read_status(sweep_dir, find=find)
    manifest, remaining = status.search.manifest, status.remaining
    study = manifest["study"]
    return _dump(
        StatusDocument(
            sweep_dir=str(sweep_dir),
            study=study["name"],
            question=study["question"],
            state=status.state,
            driver=None if status.driver is None else _driver(status.driver),
            n_ended=remaining.n_trials - remaining.n_left,
            n_trials=remaining.n_trials,
            n_resumed=int((status.trials["attempts"] > 1).sum()),
            training_s=status.training_s,
            metric=study["metric"],
            baseline=status.baseline,
            arms=[_arm_status(row) for row in status.arms.to_dict("records")],
            n_searches=n_searches(study),
            confirmed=[_confirmed(row) for row in _records(status.confirmed)],
            winners=[SearchWinner(**row) for row in _records(status.winners)],
            failures=[
                Failure(**{name: row[name] for name in ("trial", "status", "fault", "why")}) for row in status.failures
            ],
            gpu_memory=describe_gpu_memory(status.trials) or None,
            left_out_nodes=[LeftOutNode(**node) for node in left_out_nodes(manifest)],
            dropped_confirmations=dict(remaining.dropped),
            verdict=status.verdict,
            exit_code=status.exit_code if status.state == ENDED else None,
            resume_command=command_to_resume(sweep_dir, manifest) if status.state == INTERRUPTED else None,
            versions=manifest["versions"],
            problem=remaining.problem or None,
        )
    )


def _driver(driver: Driver) -> DriverStatus:
    return DriverStatus(
        host=driver.host,
        process=driver.process,
        started_at=driver.started_at,
        heartbeat_age_s=driver.heartbeat_age_s,
        quiet_s=driver.quiet_s,
        stalled=driver.stalled or None,
        paused=driver.paused or None,
    )


def _arm_status(row: Mapping[Any, Any]) -> ArmStatus:
    return ArmStatus(
        arm=row["arm"],
        n_trials=row["n_trials"],
        n_by_status={status: row[f"n_{status}"] for status in STATUSES},
        n_seeds=row["n_seeds"],
        epochs=row["epochs"],
        seconds=row["seconds"],
        best_trial=row["best_trial"],
        best_val_top1_error=row["best"],
        median_val_top1_error=row["median"],
        best_trial_val_nll=row["val_nll"],
        best_trial_val_ece=row["val_ece"],
    )


def _confirmed(row: Mapping[str, Any]) -> ConfirmedConfigurations:
    return ConfirmedConfigurations(**{**row, "winners": row["winners"].split(", ")})


def trials_document(
    sweep_dir: Path | str,
    *,
    arm: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
    sort: str | None = None,
    top: int | None = None,
    columns: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the trials of a sweep, with the arguments of ``list_trials``; see ``TrialsDocument``.

    Raises:
        RecordsError: there is no sweep in ``sweep_dir``.
        UserError: the sweep has no such arm, status or column.
    """
    from sweep.findings.trials import default_sort, list_trials
    from sweep.records.reader import read_manifest

    trials = list_trials(sweep_dir, arm=arm, state=state, sort=sort, top=top, columns=columns)
    study = read_manifest(Path(sweep_dir))["study"]
    return _dump(
        TrialsDocument(
            sweep_dir=str(sweep_dir),
            study=study["name"],
            sorted_by=sort or default_sort(study),
            columns=list(trials.columns),
            trials=_records(trials),
        )
    )


def plan_document(study: Study, plan: Plan, power: Power, price_per_gpu_hour: float | None = None) -> dict[str, Any]:
    """Return what a study would run on this machine, and what it would detect; see ``PlanDocument``."""
    arms = [ArmPlan(arm=arm, matched=arm in plan.matched, dose=dose.as_columns()) for arm, dose in plan.doses.items()]
    return _dump(
        PlanDocument(
            study=study.name,
            question=study.question,
            arms=arms,
            networks=[NetworkPlan(**asdict(network)) for network in plan.networks],
            n_search_trials=plan.n_trials,
            n_confirmation_trials=plan.n_confirming,
            max_epochs=plan.max_epochs,
            n_train=_extremes(plan.n_train),
            n_val=_extremes(plan.n_val),
            height_px=plan.height_px,
            width_px=plan.width_px,
            train_flops=_extremes(plan.train_flops),
            images_per_s=None if plan.images_per_s is None else _extremes(plan.images_per_s),
            slots=plan.slots,
            seconds=plan.seconds,
            gpu_memory=[_gpu_memory(room) for room in plan.rooms],
            disk=[_disk_use(room) for room in plan.disk],
            measured=None if plan.measured is None else _measured_speed(plan.measured, price_per_gpu_hour),
            power=_planned_power(power),
        )
    )


def _gpu_memory(room: GpuRoom) -> GpuMemory:
    return GpuMemory(
        arm=room.arm,
        state_bytes=room.state_bytes,
        image_bytes=room.image_bytes,
        streamed=room.is_streamed,
    )


def _disk_use(room: DiskRoom) -> DiskUse:
    return DiskUse(
        source=room.source,
        store=room.store,
        n_bytes=round(room.n_bytes),
        missing_bytes=round(room.missing_bytes),
        seconds=room.seconds,
        free_bytes=round(room.free_bytes),
        folder=str(room.folder),
    )


def _measured_speed(result: ProbeResult, price_per_gpu_hour: float | None) -> MeasuredSpeed:
    return MeasuredSpeed(
        device=result.device,
        n_gpus=result.n_gpus,
        trials_per_gpu=result.trials_per_gpu,
        hours=result.hours,
        gpu_hours=result.gpu_hours,
        cost=None if price_per_gpu_hour is None else result.cost(price_per_gpu_hour),
        rows=[
            MeasuredTrials(
                arm=row.arm,
                n_trials=row.n_trials,
                images_per_s=row.images_per_s,
                epochs_per_s=row.epochs_per_s,
                peak_bytes=row.peak_bytes,
                streamed=row.is_streamed,
                why_not=row.why_not,
            )
            for row in result.rows
        ],
    )


def _extremes(pair: tuple[float, float]) -> Extremes:
    return Extremes(min=pair[0], max=pair[1])


def _planned_power(power: Power) -> PlannedPower:
    return PlannedPower(
        unit=power.unit,
        n_units=power.n_units,
        n_comparisons=power.n_comparisons,
        sd_points=power.spread.sd_points,
        difference_sd_points=power.spread.difference_sd_points,
        detectable_points=None if power.detectable_points is None else _extremes(power.detectable_points),
        effect_points=power.effect_points,
        units_needed=power.units_needed,
        power=power.power,
        text=power.describe(),
    )


def studies_document(studies: Sequence[Study], scales: Mapping[str, Study | UserError] | None = None) -> dict[str, Any]:
    """Return studies and, for a single one, its size at each scale; see ``StudiesDocument``.

    Examples:
        >>> from search_spaces.discover import load_study
        >>> document = studies_document([load_study("quickstart")])
        >>> document["kind"], document["studies"][0]["name"], document["studies"][0]["scales"]
        ('studies', 'quickstart', None)
    """
    at_scales = None if scales is None else [_at_scale(scale, study) for scale, study in scales.items()]
    return _dump(StudiesDocument(studies=[_study_entry(study, at_scales) for study in studies]))


def _study_entry(study: Study, scales: list[StudyAtScale] | None) -> StudyEntry:
    arms = [
        StudyArm(
            arm=name,
            mix=arm.base.get("mix", study.base.get("mix", "off")) if arm.mix is None else arm.mix,
            varies={path: domain.model_dump(mode="json") for path, domain in study.space_of(name).items()},
        )
        for name, arm in study.arms.items()
    ]
    return StudyEntry(
        name=study.name,
        question=study.question,
        why_open=study.why_open.strip(),
        arms=arms,
        baseline=study.baseline,
        search=study.search,
        metric=study.metric,
        n_searches=study.n_searches,
        n_search_trials=len(study.arms) * study.trials_per_arm,
        n_confirmation_trials=len(study.arms) * study.confirming_per_arm,
        max_epochs_per_trial=study.budget.max_epochs,
        early_stopping=study.budget.early_stopping.model_dump(mode="json"),
        scales=scales,
    )


def _at_scale(scale: str, study: Study | UserError) -> StudyAtScale:
    if isinstance(study, UserError):
        return StudyAtScale(
            scale=scale,
            n_searches=None,
            n_search_trials=None,
            n_confirmation_trials=None,
            max_epochs_per_trial=None,
            error=str(study),
        )
    return StudyAtScale(
        scale=scale,
        n_searches=study.n_searches,
        n_search_trials=len(study.arms) * study.trials_per_arm,
        n_confirmation_trials=len(study.arms) * study.confirming_per_arm,
        max_epochs_per_trial=study.budget.max_epochs,
        error=None,
    )


def doctor_document(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checks of a machine; see ``DoctorDocument``.

    Examples:
        >>> from sweep.doctor import Check
        >>> doctor_document([Check("GPU", "ok", "none: trials run on the CPU")])["ok"]
        True
    """
    from sweep.doctor import WRONG

    return _dump(
        DoctorDocument(
            ok=all(check.state != WRONG for check in checks),
            checks=[DoctorCheck(**asdict(check)) for check in checks],
        )
    )


def evaluate_document(sweep_dir: Path | str, evaluated: Evaluated) -> dict[str, Any]:
    """Return the results of an evaluation; see ``EvaluateDocument``."""
    from sweep.findings.evaluated import summarise_evaluations

    arms = dict(zip(evaluated.trials["trial"], evaluated.trials["arm"], strict=True))
    values = evaluated.evaluations.assign(arm=evaluated.evaluations["trial"].map(arms))
    failures = evaluated.failures.to_dict("records")
    return _dump(
        EvaluateDocument(
            sweep_dir=str(sweep_dir),
            trials=list(arms),
            axes=list(evaluated.axes),
            values=[MeasuredValue(**row) for row in _records(values[list(MeasuredValue.model_fields)])],
            means=[
                MeasuredMean(**row) for row in _records(summarise_evaluations(evaluated.trials, evaluated.evaluations))
            ],
            failures=[MeasurementFailure(trial=row["trial"], axis=row["axis"], why=row["why"]) for row in failures],
            pictures=[str(path) for path in evaluated.pictures],
        )
    )


def check_document(check: SweepCheck) -> dict[str, Any]:
    """Return the result of a check; see ``CheckDocument``."""
    from sweep.endings import resume_command

    to_run = None
    if check.to_run is not None:
        to_run = TrialsToRun(**asdict(check.to_run), command=resume_command(check.sweep_dir))
    return _dump(
        CheckDocument(
            sweep_dir=str(check.sweep_dir),
            whole=check.is_whole,
            problems=[_check_problem(problem) for problem in check.problems],
            repaired=[_check_problem(problem) for problem in check.repaired],
            leftovers=[str(path) for path in check.leftovers],
            lost_rows=check.lost_rows,
            to_run=to_run,
            unknown=check.unknown or None,
            unverified=UnverifiedFiles(n_parts=check.unverified.n_parts, trials=list(check.unverified.trials)),
            n_upgraded=check.n_upgraded,
        )
    )


def _check_problem(problem: Problem) -> CheckProblem:
    return CheckProblem(**{**asdict(problem), "path": str(problem.path), "trials": list(problem.trials)})


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame with its column names; the values are those of Python, not of NumPy."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _dump(document: Document) -> dict[str, Any]:
    return document.model_dump(mode="json")
