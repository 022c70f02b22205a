"""Tables of the paper as a document: what ``reproduce --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.table import Table
from sweep.document_models import ReproduceDocument, ReproducedTable, StudyOfTable, TableRow

if TYPE_CHECKING:
    import pandas as pd

    from sweep.reproduce import PlannedPart


def reproduce_document(
    tables: Mapping[str, Table],
    planned: Mapping[str, Sequence[PlannedPart]],
    *,
    scale: str,
    rows: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return tables with their studies and, if they were filled, their rows; see ``ReproduceDocument``.

    Args:
        tables: the files of the tables by name.
        planned: the studies of each table.
        scale: scale of the studies.
        rows: from ``analysis.published.fill_table``; None: nothing was filled.
    """
    entries = [
        ReproducedTable(
            table=name,
            title=table.title,
            source=table.source,
            published_tables=list(table.tables),
            scale=scale,
            studies=[_study(each) for each in planned[name]],
            differs=list(table.differs),
            rows=[] if rows is None else [_row(row) for row in rows.to_dict("records")],
        )
        for name, table in tables.items()
    ]
    return ReproduceDocument(tables=entries).model_dump(mode="json")


def _study(planned: PlannedPart) -> StudyOfTable:
    study, config = planned.part.study, planned.config
    return StudyOfTable(
        study=planned.part.name,
        data=config.data.source,
        network=config.model.name,
        arms=list(study.arms),
        axes=planned.part.axes,
        n_trials=planned.n_trials,
        max_epochs_per_trial=study.budget.max_epochs,
        n_epochs=planned.n_epochs,
        n_measurements=planned.part.n_measurements,
        gpus_per_trial=study.resources.gpus,
        train_flops_per_trial=planned.flops,
        seconds=planned.seconds,
        why=planned.why or None,
    )


def _row(row: Mapping[Any, Any]) -> TableRow:
    texts = {name: row[name] or None for name in ("study", "why", "source")}
    return TableRow(**{**row, **texts})
