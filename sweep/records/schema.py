"""What a sweep leaves behind: five append-only tables and one manifest.

The tables are folders of Parquet parts under ``records/``; ``sweep.json`` beside them says what was run, with
which versions, on which hardware. Nothing else is read by the analysis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

SCHEMA_VERSION = 1
"""Grows when a column changes its meaning; stored in every part and in the manifest."""

MANIFEST = "sweep.json"
RECORDS = "records"

SEARCH: Literal["search"] = "search"
CONFIRM: Literal["confirm"] = "confirm"
"""Phases: configurations are looked for, and the best of them are trained again on fresh seeds."""

RUNNING, PAUSED, COMPLETED, STOPPED, DIVERGED, FAILED = STATUSES = (
    "running",
    "paused",
    "completed",
    "stopped",
    "diverged",
    "failed",
)
"""Status of a trial: under way, waiting at a rung, ran all planned epochs, stopped early, loss not finite, error."""

LIVING = (RUNNING, PAUSED)
"""Statuses of a trial that has not ended."""

SPARED = "spared"
"""Verdict on a trial of the control cohort that the rule would have stopped or paused."""


@dataclass(frozen=True)
class Table:
    """One table of the records.

    Attributes:
        name: folder below ``records/``.
        columns: Arrow schema of a row; every row also has ``seq``, its place in the order of writing.
        key: columns that name a row.
        keep: which of several rows with the same key counts, ``first`` or ``last``.
    """

    name: str
    columns: pa.Schema
    key: tuple[str, ...]
    keep: Literal["first", "last"]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of a part, with ``seq`` first and the schema version in its metadata."""
        fields = [pa.field("seq", pa.int64()), *self.columns]
        return pa.schema(fields, metadata={"cutmix_sweep_schema": str(SCHEMA_VERSION)})


_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()

TRIALS = Table(
    "trials",
    pa.schema(
        [
            ("sweep", _TEXT),
            ("study", _TEXT),
            ("phase", _TEXT),  # search or confirm
            ("arm", _TEXT),
            ("trial", _TEXT),  # arm and number: cutmix-0003
            ("number", _WHOLE),  # of the trial within its arm
            ("confirms", _TEXT),  # trial of the search that has the same configuration; null in the search
            ("replicate", _WHOLE),  # equal replicates of all arms share their seed
            ("seed", _WHOLE),
            ("control", pa.bool_()),  # whether early stopping may not touch it; null in records of older programs
            ("params", _TEXT),  # JSON: what was drawn, by dotted path
            ("config", _TEXT),  # JSON: the whole TrialConfig; the reader spreads it over config.* columns
            ("status", _TEXT),
            ("why", _TEXT),
            ("epochs", _WHOLE),
            ("attempts", _WHOLE),  # 1, plus one each time the trial was taken up again
            ("resumed_at_epoch", _WHOLE),  # epoch after which it was last taken up again; null if never
            ("seconds", _REAL),  # training and validation, all attempts that count
            ("images_per_s", _REAL),
            ("dose_mean_prob", _REAL),  # chance of being mixed, averaged over the planned steps
            ("dose_pasted_frac", _REAL),  # share of foreign pixels over all samples of a run
            ("dose_pasted_frac_se", _REAL),
            ("dose_exposure", _REAL),  # smaller share of the label over all samples of a run
            ("dose_exposure_se", _REAL),
            ("dose_label_entropy", _REAL),  # nats, over all samples of a run
            ("dose_nothing_pasted", _REAL),  # from here on: of a sample that is mixed
            ("dose_boundary_px", _REAL),
            ("dose_coverage_centre", _REAL),
            ("dose_coverage_edge", _REAL),
            ("dose_coverage_corner", _REAL),
            ("n_train", _WHOLE),
            ("n_val", _WHOLE),
            ("device", _TEXT),
            ("precision", _TEXT),
            ("threads", _WHOLE),
            ("node", _TEXT),
            ("time_s", _REAL),  # since the Unix epoch, when the row was written
        ]
    ),
    key=("trial",),
    keep="last",
)

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
            ("lr", _REAL),  # of the epoch's last step
            ("effective_prob", _REAL),  # share of the epoch's samples that were mixed
            ("pasted_frac", _REAL),  # mean share of foreign pixels, unmixed samples counted as 0
            ("seconds", _REAL),
            ("images_per_s", _REAL),  # training alone
        ]
    ),
    key=("trial", "epoch"),
    keep="first",
)

DECISIONS = Table(
    "decisions",
    pa.schema(
        [
            ("trial", _TEXT),
            ("arm", _TEXT),
            ("rule", _TEXT),
            ("metric", _TEXT),
            ("rung_epochs", _WHOLE),
            ("value", _REAL),  # the metric there; of the median rule the best so far
            ("cutoff", _REAL),  # null while too few trials are recorded to judge
            ("n_recorded", _WHOLE),  # at this rung in this arm (and bracket), this trial among them
            ("verdict", _TEXT),  # continue, stop, spared (a control trial that would have ended) or pause
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
            ("setting", _TEXT),  # condition within the axis; of a confirmation's own values which weights: WEIGHTS
            ("metric", _TEXT),  # top1_error, nll, ...; shares are fractions
            ("value", _REAL),
            ("n", _WHOLE),  # images
            ("library", _TEXT),  # and its version
            ("seed", _WHOLE),
            ("settings", _TEXT),  # JSON: all settings of the axis; null of a confirmation's own values
            ("time_s", _REAL),
        ]
    ),
    key=("trial", "axis", "split", "setting", "metric", "settings"),
    keep="last",
)

AXES = Table(
    "axes",
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
            ("time_s", _REAL),
        ]
    ),
    key=("trial", "axis", "settings"),
    keep="last",
)

WEIGHTS = ("last", "ema")
"""Settings under which a confirmation records its test values, on axis ``classification``, in training's precision."""

TABLES = {table.name: table for table in (EPOCHS, DECISIONS, EVALUATIONS, AXES, TRIALS)}
"""Tables by name, in the order in which they are written."""
