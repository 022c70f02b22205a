"""Documents that ``--json`` prints: the models are the only statement of their schema.

Every document has ``schema_version`` and ``kind``. A version of the schema only adds keys; a change that an older
reader would misread increases the version. Values are not rounded, errors are fractions, and a value that is not known
or not finite is null.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

SCHEMA_VERSION: Literal[2] = 2
"""Version of all documents.

- 2: an arm may have several searches. In the document ``status``, ``n`` of a row of ``confirmed`` may count searches,
  and its ``winners`` were ``confirms``.
"""


def without_nan(value: Any) -> Any:
    """Return a value with null in place of numbers that are not finite, and lists in place of tuples.

    Examples:
        >>> without_nan({"val_nll": float("nan"), "marks": (1, 2.5)})
        {'val_nll': None, 'marks': [1, 2.5]}
    """
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


Number = Annotated[float | None, BeforeValidator(without_nan)]
Text = Annotated[str | None, BeforeValidator(without_nan)]
Values = Annotated[dict[str, JsonValue], BeforeValidator(without_nan)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(_Strict):
    """What every document has."""

    schema_version: Literal[2] = SCHEMA_VERSION


class ArmStatus(_Strict):
    """Search of one arm; the values are those of completed trials after their last epoch."""

    arm: str
    n_trials: int
    n_by_status: dict[str, int]
    n_seeds: int
    epochs: int = Field(description="recorded epochs of all trials")
    seconds: float = Field(description="training time of these epochs")
    best_trial: Text
    best_val_top1_error: Number
    median_val_top1_error: Number
    best_trial_val_nll: Number = Field(description="nats")
    best_trial_val_ece: Number


class ConfirmedConfigurations(_Strict):
    """Test values of an arm's winners on fresh seeds: means over searches or over seeds, with 95 % intervals."""

    arm: str
    rank: int = Field(description="1: the winner of each search, which is compared; former winners have higher ranks")
    winners: list[str] = Field(description="first search trial with the configuration, one per search")
    unit: Literal["search", "seed"] = Field(description="what n counts: searches if an arm has several")
    n: int = Field(description="independent values of the arm")
    n_seeds: int = Field(description="completed confirmation trials")
    top1_error: Number
    low: Number
    high: Number
    nll: Number
    ece: Number
    difference: Number = Field(description="top-1 error minus the baseline's, paired by search or by seed")
    difference_low: Number = Field(description="interval that holds for all comparisons together")
    difference_high: Number
    n_pairs: Number
    p: Number
    p_holm: Number


class SearchWinner(_Strict):
    """Confirmed configuration of one search of an arm."""

    arm: str
    search: int = Field(description="index of the search, from 0")
    rank: int = Field(description="1: the present winner of the search")
    winner: str = Field(description="first search trial with the configuration")
    val_top1_error: Number = Field(description="validation error in the search: too optimistic after the selection")
    n_seeds: int = Field(description="completed confirmation trials")
    top1_error: Number = Field(description="mean over these seeds, on test images")
    nll: Number
    ece: Number


class Failure(_Strict):
    """Trial that failed, or a confirmation trial that diverged."""

    trial: str
    status: str
    fault: Text = Field(description="kind of the failure; null for a trial that diverged, and in older records")
    why: Text


class LeftOutNode(_Strict):
    """Node of a cluster that gets no trials."""

    node: str = Field(description="host name")
    node_id: str = Field(description="Ray's id of the node")
    why: str


class DriverStatus(_Strict):
    """Process that runs a sweep."""

    host: Text = Field(description="null for a driver of an older version")
    process: int | None
    started_at: Text = Field(description="when it locked the folder, by its own clock, ISO 8601")
    heartbeat_age_s: Number = Field(description="seconds since its last heartbeat")
    quiet_s: Number = Field(description="seconds since a trial had reported; null before the trials begin")
    stalled: Text = Field(description="why the sweep does not proceed; null if it does")
    paused: Text = Field(description="who paused the sweep, and when")


class StatusDocument(Document):
    """Progress and results of a sweep."""

    kind: Literal["status"] = "status"
    sweep_dir: str
    study: str
    question: str
    state: Literal["running", "interrupted", "ended"]
    driver: DriverStatus | None = Field(description="null unless the state is running")
    n_ended: int
    n_trials: int = Field(description="all trials, including confirmations that will follow")
    n_resumed: int
    training_s: float
    metric: str = Field(description="metric that the study selects by")
    baseline: str
    arms: list[ArmStatus]
    n_searches: int = Field(description="independent searches per arm")
    confirmed: list[ConfirmedConfigurations]
    winners: list[SearchWinner]
    failures: list[Failure]
    gpu_memory: str | None = Field(
        description="trials that did not fit in the memory of their share of a GPU, and how they ended with a whole "
        "one; null if there are none"
    )
    left_out_nodes: list[LeftOutNode] = Field(description="nodes that the last run gave no trials")
    dropped_confirmations: dict[str, int] = Field(
        description="number of confirmation trials, by arm, that cannot run: too few search trials completed"
    )
    verdict: str
    exit_code: int | None = Field(description="exit code of the command that ran the sweep; null before its end")
    resume_command: str | None = Field(description="null unless the sweep was interrupted")
    versions: dict[str, str]
    problem: str | None = Field(description="why trials that have not begun are not counted; null if they are")


class TrialsDocument(Document):
    """Trials of a sweep, sorted."""

    kind: Literal["trials"] = "trials"
    sweep_dir: str
    study: str
    sorted_by: str = Field(description="column; with a minus sign: largest value first; null values are last")
    columns: list[str]
    trials: list[Values] = Field(description="one object per trial with a value per column")


class ArmPlan(_Strict):
    """Planned arm."""

    arm: str
    matched: bool
    dose: dict[str, Number] = Field(description="the dose columns of the records; _se: standard error")


class Extremes(_Strict):
    """Smallest and largest value over the trials."""

    min: float
    max: float


class PlannedPower(_Strict):
    """Difference in top-1 error that a study detects, and what a given difference needs; in percentage points."""

    unit: Literal["search", "seed"] = Field(description="what is counted per arm")
    n_units: int = Field(description="searches or seeds per arm")
    n_comparisons: int
    sd_points: float = Field(description="SD of an arm over these units")
    difference_sd_points: Number = Field(description="SD of the differences between two arms; null if not known")
    detectable_points: Extremes | None = Field(description="over the comparisons; null if no difference is detected")
    effect_points: Number = Field(description="difference that was asked for")
    units_needed: int | None = Field(description="searches or seeds per arm that detect it")
    power: Number = Field(description="probability that this study finds it; null if it detects no difference")
    text: str = Field(description="what the study detects, in one line")


class GpuMemory(_Strict):
    """Memory that the largest trial of an arm needs on a GPU, without feature maps."""

    arm: str
    state_bytes: int = Field(description="weights, gradients, momentum and moving average")
    image_bytes: int = Field(description="training and validation images with their border")
    streamed: bool | None = Field(description="whether the images do not fit; null if the GPU is not known here")


class DiskUse(_Strict):
    """Disk that the images of a source need, if its images are files."""

    source: str
    store: str = Field(description="pixels or jpeg")
    n_bytes: int = Field(description="all stored images; estimated from some files for JPEGs that are not written")
    missing_bytes: int = Field(description="what of it is not written yet")
    seconds: float = Field(description="time to write what is missing, estimated from some files")
    free_bytes: int = Field(description="free space of the disk")
    folder: str


class MeasuredTrials(_Strict):
    """Largest trial of an arm, measured with several trials at the same time."""

    arm: str
    n_trials: int = Field(description="trials at the same time, on one GPU or on the cores")
    images_per_s: float = Field(description="training images per second, all of them together")
    epochs_per_s: float = Field(description="epochs per second, all of them together")
    peak_bytes: int = Field(description="memory of one trial with its images")
    streamed: bool = Field(description="whether its images do not fit on the GPU")
    why_not: str = Field(description='why so many trials do not run at the same time; "" if they do')


class MeasuredSpeed(_Strict):
    """Speed of several trials at the same time, and what follows for the sweep."""

    device: str
    n_gpus: int = Field(description="GPUs of this machine; 0: trials use the CPU")
    trials_per_gpu: int = Field(description="smallest number within 5 % of the best speed; on a CPU, trials at a time")
    hours: float = Field(description="duration of the whole sweep on this machine if no trial stops early")
    gpu_hours: float
    cost: Number = Field(description="GPU hours times the price that was given; null without a price")
    rows: list[MeasuredTrials]


class NetworkPlan(_Strict):
    """Size of a network of a study."""

    name: str
    width: float
    last_stride: int = Field(description="stride of the last stage as configured: 2, or 1 where it is removed")
    n_parameters: int
    multiply_adds: int = Field(description="multiply-adds per image in a forward pass")


class PlanDocument(Document):
    """What a study would run on this machine."""

    kind: Literal["plan"] = "plan"
    study: str
    question: str
    arms: list[ArmPlan]
    networks: list[NetworkPlan]
    n_search_trials: int
    n_confirmation_trials: int
    max_epochs: int = Field(description="total over all trials if none stops early")
    n_train: Extremes
    n_val: Extremes
    height_px: int
    width_px: int
    train_flops: Extremes = Field(description="floating-point operations of all training steps of a trial")
    images_per_s: Extremes | None = Field(
        description="training images per second and trial, measured on this machine; null: no trial fits on it"
    )
    slots: int = Field(description="trials at a time")
    seconds: float | None = Field(description="upper bound of the duration on this machine; null: no trial fits on it")
    gpu_memory: list[GpuMemory] = Field(description="one row per arm; empty if trials use no GPU")
    disk: list[DiskUse] = Field(description="one row per source and stored size; empty if no image is a file")
    measured: MeasuredSpeed | None = Field(description="of several trials at the same time; null without --measure")
    power: PlannedPower


class StudyArm(_Strict):
    """Arm of a study."""

    arm: str
    mix: JsonValue = Field(description="name of a preset, or a policy as in a study file")
    varies: dict[str, JsonValue] = Field(description="domain by dotted path")


class StudyAtScale(_Strict):
    """Size of a study at a scale, or why its file does not allow the scale."""

    scale: str
    n_searches: int | None = Field(description="independent searches per arm")
    n_search_trials: int | None
    n_confirmation_trials: int | None
    max_epochs_per_trial: int | None
    error: str | None


class StudyEntry(_Strict):
    """Built-in study or study file."""

    name: str
    question: str
    why_open: str
    arms: list[StudyArm]
    baseline: str
    search: str
    metric: str
    n_searches: int = Field(description="independent searches per arm")
    n_search_trials: int
    n_confirmation_trials: int
    max_epochs_per_trial: int
    early_stopping: dict[str, JsonValue]
    scales: list[StudyAtScale] | None = Field(description="null in a list of several studies")


class StudiesDocument(Document):
    """Built-in studies, or one study."""

    kind: Literal["studies"] = "studies"
    studies: list[StudyEntry]


class DoctorCheck(_Strict):
    """Check of the machine."""

    name: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    fix: str = Field(description="how to fix the problem; empty if there is none")


class DoctorDocument(Document):
    """Checks of the machine."""

    kind: Literal["doctor"] = "doctor"
    ok: bool = Field(description="false if a sweep would fail")
    checks: list[DoctorCheck]


class MeasuredValue(_Strict):
    """Value of one trained model."""

    trial: str
    arm: str
    axis: str
    split: str
    setting: str = Field(description="condition within the axis; may be empty")
    metric: str
    value: Number
    n: int = Field(description="images")


class MeasuredMean(_Strict):
    """Mean of an arm over searches or over seeds, with its 95 % interval."""

    axis: str
    split: str
    setting: str
    metric: str
    arm: str
    unit: Literal["search", "seed"] = Field(description="what n_units counts")
    n_units: int = Field(description="independent values of the arm")
    seeds: int = Field(description="trials with a value")
    n: int = Field(description="images, smallest number")
    mean: Number
    low: Number
    high: Number


class MeasurementFailure(_Strict):
    """Measurement that failed."""

    trial: str
    axis: str
    why: Text


class EvaluateDocument(Document):
    """Measured values of an evaluation; values from earlier runs under the same settings are included."""

    kind: Literal["evaluate"] = "evaluate"
    sweep_dir: str
    trials: list[str]
    axes: list[str]
    values: list[MeasuredValue]
    means: list[MeasuredMean]
    failures: list[MeasurementFailure]
    pictures: list[str]


class CheckProblem(_Strict):
    """Something that is damaged, lost or incomplete."""

    what: Literal["records", "model", "checkpoint", "trial"]
    path: str
    problem: str
    repair: str = Field(description="what removes the problem; in `repaired`: what was done")
    trials: list[str] = Field(description="trials that `resume` runs again because of it")
    epochs: int = Field(description="epochs that are repeated at most")
    seconds: Number = Field(description="time that these epochs took; null if it is not known")


class TrialsToRun(_Strict):
    """What `resume` runs."""

    n_left: int
    n_trials: int
    epochs: int = Field(description="epochs that are repeated at most because something is lost")
    seconds: Number = Field(description="time that these epochs took; null if it is not known")
    command: str


class UnverifiedFiles(_Strict):
    """What an older version recorded without a checksum."""

    n_parts: int = Field(description="files of the records in which damage may go unnoticed")
    trials: list[str] = Field(description="completed trials without a model; whether they had one is not known")


class CheckDocument(Document):
    """Verification of the folder of a sweep."""

    kind: Literal["check"] = "check"
    sweep_dir: str
    whole: bool
    problems: list[CheckProblem] = Field(description="what is wrong now")
    repaired: list[CheckProblem] = Field(description="what --repair has restored or given up")
    leftovers: list[str] = Field(description="files that the program does not use; they are left alone")
    lost_rows: dict[str, int] = Field(description="rows by table that were given up, now or earlier")
    to_run: TrialsToRun | None = Field(description="null if it is not known")
    unknown: str | None = Field(description="why it is not known; null if it is")
    unverified: UnverifiedFiles
    n_upgraded: int = Field(description="files of the records that --repair has given a checksum and a copy")


class StudyOfTable(_Strict):
    """One study of a table of the paper: its sweep is in the folder with its name."""

    study: str
    data: str = Field(description="data source")
    network: str
    arms: list[str]
    axes: dict[str, dict[str, JsonValue]] = Field(description="settings of the axes that are measured")
    n_trials: int
    max_epochs_per_trial: int
    n_epochs: int = Field(description="epochs of all trials")
    n_measurements: int
    gpus_per_trial: Number
    train_flops_per_trial: Number = Field(description="for the largest arm; null without --plan, or if not known here")
    seconds: Number = Field(description="training time on this machine; null without --plan, or if not known here")
    why: Text = Field(description="why one of these is not known here, or what it assumes")


class TableRow(_Strict):
    """One number of a table, own and published."""

    study: Text = Field(description="null: no study computes the number")
    dataset: str
    model: str = Field(description="network of the published number")
    arm: str
    metric: str
    state: Literal["measured", "not measured yet", "not run"]
    own: Number = Field(description="mean in percent, after the last epoch")
    low: Number = Field(description="lower end of its 95 % interval")
    high: Number
    n: Number = Field(description="independent values: searches or seeds")
    n_trials: Number
    published: Number = Field(description="percent; null: there is no such published number")
    published_seeds: Number
    own_change: Number = Field(description="points, from the arm off; paired by seed")
    change_low: Number
    change_high: Number
    published_change: Number
    not_comparable: list[str] = Field(description="differences because of which the numbers are not comparable")
    differs: list[str] = Field(description="all other differences from the published training")
    why: Text = Field(description="why it is not run")
    source: Text


class ReproducedTable(_Strict):
    """A table of the paper: what it needs, and what has been computed."""

    table: str
    title: str
    source: str
    published_tables: list[str]
    scale: str
    studies: list[StudyOfTable]
    differs: list[str] = Field(description="differences from the paper that hold for the whole table")
    rows: list[TableRow] = Field(description="empty: nothing was run, and --show was not given")


class ReproduceDocument(Document):
    """Tables of the paper: the given one, or all."""

    kind: Literal["reproduce"] = "reproduce"
    tables: list[ReproducedTable]


DOCUMENTS: dict[str, type[Document]] = {
    "status": StatusDocument,
    "trials": TrialsDocument,
    "plan": PlanDocument,
    "studies": StudiesDocument,
    "doctor": DoctorDocument,
    "evaluate": EvaluateDocument,
    "check": CheckDocument,
    "reproduce": ReproduceDocument,
}
"""Models by kind."""


def document_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a document.

    Raises:
        KeyError: there is no such kind.

    Examples:
        >>> document_schema("status")["properties"]["kind"]["const"]
        'status'
    """
    schema = DOCUMENTS[kind].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
