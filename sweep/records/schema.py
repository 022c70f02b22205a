"""The records of a sweep: five append-only tables and one manifest.

Each table is a folder of Parquet parts under ``records/``. The manifest ``sweep.json`` names the study, the versions
and the hardware. The analysis reads nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

SCHEMA_VERSION = 6
"""Version that the writer stores in the manifest and in every part.

It grows when an older version would misread the records. The reader accepts all earlier versions:

- 6: the columns ``gpu_out_of_memory``, ``neighbour_faults`` and ``step_kind`` of the trials; ``compute`` in their
  configurations.
- 5: a trial may have the status ``cancelled``; the study of a run may change while it runs: ``changes`` of the run;
  the columns ``lost_nodes`` to ``out_of_memory`` of the trials.
- 4: each part has its checksum in its name and a second copy under ``copies``; ``counts.json`` has the rows per table;
  ``sweep.json`` has a checksum, a second copy and the checksum of the study of each run.
- 3: an arm may have several searches: ``confirm.searches`` of the study, column ``search`` of the trials. Before, each
  arm had one search.
- 2: table ``measurements`` was ``axes``; ``mix.granularity`` and ``mix.alternate`` were ``mix.share`` and
  ``mix.other``; ``ramp_up_start`` to ``ramp_down_end`` of a schedule were ``on0`` to ``off1``.
"""

MANIFEST = "sweep.json"
RECORDS = "records"

SEARCH: Literal["search"] = "search"
CONFIRM: Literal["confirm"] = "confirm"
"""Phases: the search for configurations, and the confirmation of the best ones on fresh seeds."""

RUNNING, PAUSED, COMPLETED, STOPPED, DIVERGED, FAILED, CANCELLED = STATUSES = (
    "running",
    "paused",
    "completed",
    "stopped",
    "diverged",
    "failed",
    "cancelled",
)
"""Status of a trial.

Training, waiting at a rung, ran all planned epochs, stopped early, loss not finite, error, stopped by a person.
"""

LIVING = (RUNNING, PAUSED)
"""Statuses of trials that have not ended."""

WAITS = "waits"
"""Beginning of ``why`` of a running trial that gave its slot back: the sweep was paused, or fewer trials may run."""

LOST_NODES, PREEMPTIONS, CRASHES, OUT_OF_MEMORY, GPU_OUT_OF_MEMORY, NEIGHBOUR_FAULTS = LOSSES = (
    "lost_nodes",
    "preemptions",
    "crashes",
    "out_of_memory",
    "gpu_out_of_memory",
    "neighbour_faults",
)
"""Columns of the trials that count, over all runs, how often a trial has lost its worker or its GPU memory, by kind.

``out_of_memory``: Ray killed the worker because the memory of its node was short. ``gpu_out_of_memory``: the trial did
not fit on its GPU. ``neighbour_faults``: an error of another trial on the same GPU ended the worker.
"""

SPARED = "spared"
"""Verdict on a control trial that the rule would have stopped or paused."""


@dataclass(frozen=True)
class Table:
    """One table of the records.

    Attributes:
        name: folder below ``records/``.
        columns: Arrow schema of a row. Every row also has ``seq``, its index in the order of writing.
        key: columns that identify a row.
        keep: which of several rows with the same key is valid, ``first`` or ``last``.
        old_name: folder in records of an older version.
    """

    name: str
    columns: pa.Schema
    key: tuple[str, ...]
    keep: Literal["first", "last"]
    old_name: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of a part: ``seq`` first, the schema version in the metadata."""
        fields = [pa.field("seq", pa.int64()), *self.columns]
        return pa.schema(fields, metadata={"cutmix_sweep_schema": str(SCHEMA_VERSION)})


_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()

_ABOUT = [
    ("dose_mean_prob", _REAL),  # probability of mixing, mean over the planned steps
    ("dose_pasted_frac", _REAL),  # fraction of pasted pixels, mean over all samples of a run
    ("dose_pasted_frac_se", _REAL),
    ("dose_exposure", _REAL),  # smaller weight of the label, mean over all samples of a run
    ("dose_exposure_se", _REAL),
    ("dose_label_entropy", _REAL),  # nats, mean over all samples of a run
    ("dose_nothing_pasted", _REAL),  # from here to the coverage: mixed samples only
    ("dose_boundary_px", _REAL),
    ("dose_coverage_centre", _REAL),
    ("dose_coverage_edge", _REAL),
    ("dose_coverage_corner", _REAL),
    ("n_train", _WHOLE),
    ("n_val", _WHOLE),
    ("device", _TEXT),
    ("precision", _TEXT),
    ("step_kind", _TEXT),  # graph or eager; null in records of older versions
    ("threads", _WHOLE),
    ("node", _TEXT),
]
"""Columns of the trials that a trial reports about itself."""

ABOUT_COLUMNS = tuple(name for name, _ in _ABOUT)
"""Names of the columns that a trial reports about itself: its dose, its images and its device."""

TRIALS = Table(
    "trials",
    pa.schema(
        [
            ("sweep", _TEXT),
            ("study", _TEXT),
            ("phase", _TEXT),  # search or confirm
            ("arm", _TEXT),
            ("trial", _TEXT),  # arm and number: cutmix-0003
            ("search", _WHOLE),  # index of the search, from 0; 0 in records of older versions
            ("number", _WHOLE),  # index of the trial within its arm; in a confirmation, index of the seed
            ("confirms", _TEXT),  # search trial with the same configuration; null in the search
            ("replicate", _WHOLE),  # trials of all arms with the same replicate have the same seed
            ("seed", _WHOLE),
            ("control", pa.bool_()),  # no rule may stop it; null in records of older versions
            ("params", _TEXT),  # JSON: sampled values by dotted path
            ("config", _TEXT),  # JSON: the whole TrialConfig; the reader makes config.* columns of it
            ("status", _TEXT),
            ("why", _TEXT),  # reason of the end; a running trial: why it waits, or how it lost its worker
            ("fault", _TEXT),  # kind of a failure, one of trainables.faults; null without one and in older records
            ("epochs", _WHOLE),
            ("attempts", _WHOLE),  # 1, plus 1 per resumption or restart
            ("resumed_at_epoch", _WHOLE),  # epoch after which it was last resumed; null if never
            *((name, _WHOLE) for name in LOSSES),  # 0 in records of older versions
            ("seconds", _REAL),  # training and validation, sum over the recorded epochs
            ("images_per_s", _REAL),
            *_ABOUT,
            ("model_sha256", _TEXT),  # checksum of a completed trial's model; null in records of older versions
            ("time_s", _REAL),  # time of writing, since the Unix epoch
        ]
    ),
    key=("trial",),
    keep="last",
)

JSON_COLUMNS = ("params", "config")
"""Columns of the trials with keys of a configuration, as JSON."""

EPOCHS = Table(
    "epochs",
    pa.schema(
        [
            ("trial", _TEXT),
            ("arm", _TEXT),
            ("epoch", _WHOLE),  # from 1
            ("attempt", _WHOLE),
            ("train_loss", _REAL),  # mean cross-entropy on mixed targets, nats
            ("val_top1_error", _REAL),  # fraction
            ("val_top5_error", _REAL),
            ("val_nll", _REAL),  # nats
            ("val_ece", _REAL),
            ("lr", _REAL),  # at the last step of the epoch
            ("effective_prob", _REAL),  # fraction of the epoch's samples that were mixed
            ("pasted_frac", _REAL),  # fraction of pasted pixels, mean over all samples; 0 in unmixed ones
            ("seconds", _REAL),
            ("images_per_s", _REAL),  # training only
            ("node", _TEXT),  # machine that trained it; null in records of older versions
        ]
    ),
    key=("trial", "epoch"),
    keep="first",
)

ABOUT_EPOCH = ("trial", "arm", "epoch", "attempt", "node")
"""Columns of the epochs that say which epoch it is and where it was trained; the others are reported numbers."""

DECISIONS = Table(
    "decisions",
    pa.schema(
        [
            ("trial", _TEXT),
            ("arm", _TEXT),
            ("rule", _TEXT),
            ("metric", _TEXT),
            ("rung_epochs", _WHOLE),
            ("value", _REAL),  # the metric at the rung; for the median rule the best value so far
            ("cutoff", _REAL),  # null if the rung has too few trials for a verdict
            ("n_recorded", _WHOLE),  # trials at this rung of the search (and bracket), including this one
            ("verdict", _TEXT),  # continue, stop, pause, or spared: a control trial that the rule would have ended
            ("time_s", _REAL),
        ]
    ),
    key=("trial", "rung_epochs"),
    keep="first",
)

EVALUATIONS = Table(
    "evaluations",
    pa.schema(
        [
            ("trial", _TEXT),
            ("axis", _TEXT),  # classification, calibration, ...
            ("split", _TEXT),  # test or val
            ("setting", _TEXT),  # condition within the axis; in values of the confirmation itself: one of WEIGHTS
            ("metric", _TEXT),  # top1_error, nll, ...; errors are fractions
            ("value", _REAL),
            ("n", _WHOLE),  # images
            ("library", _TEXT),  # name and version
            ("seed", _WHOLE),
            ("settings", _TEXT),  # JSON: all settings of the axis; null in values of the confirmation itself
            ("time_s", _REAL),
        ]
    ),
    key=("trial", "axis", "split", "setting", "metric", "settings"),
    keep="last",
)

MEASUREMENTS = Table(
    "measurements",
    pa.schema(
        [
            ("trial", _TEXT),
            ("axis", _TEXT),
            ("settings", _TEXT),  # JSON, as in the evaluations
            ("status", _TEXT),  # completed or failed
            ("why", _TEXT),
            ("seconds", _REAL),
            ("device", _TEXT),
            ("node", _TEXT),
            ("n_values", _WHOLE),  # rows of the evaluations that it wrote; null in records of older versions
            ("time_s", _REAL),
        ]
    ),
    key=("trial", "axis", "settings"),
    keep="last",
    old_name="axes",
)

WEIGHTS = ("last", "ema")
"""Conditions of the test values that the confirmation itself records: the weights; axis ``classification``."""

TEST_METRICS = tuple(name.removeprefix("val_") for name in EPOCHS.columns.names if name.startswith("val_"))
"""Metrics of which each completed confirmation trial has a test value."""

TABLES = {table.name: table for table in (EPOCHS, DECISIONS, EVALUATIONS, MEASUREMENTS, TRIALS)}
"""Tables by name, in the order of writing."""
