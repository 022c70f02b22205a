"""Comparison of a disturbed sweep with an undisturbed one: rows, weights, files, without times and attempts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweep.records.schema import LOSSES
from trainables.intact import DAMAGED
from trainables.whole_file import UNFINISHED

NOT_COMPARED = (
    "sweep", "seconds", "images_per_s", "attempt", "attempts", "resumed_at_epoch", "time_s", "node", "model_sha256",
    *LOSSES,
)  # fmt: skip
"""Columns that differ between two runs of the same sweep."""


@dataclass
class Comparison:
    """What a disturbed sweep has in another way than an undisturbed one.

    Attributes:
        lost: rows and models that are missing.
        doubled: rows that were written twice.
        different: rows and models with other values, and rows that the undisturbed sweep does not have.
        left: files that should not be there.
        facts: one sentence per difference.
    """

    lost: int = 0
    doubled: int = 0
    different: int = 0
    left: int = 0
    facts: list[str] = field(default_factory=list)

    def add(self, kind: str, count: int, fact: str) -> None:
        """Count a difference, and keep the sentence about it."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.facts.append(f"{fact} ({count} {kind})")


def compare(
    undisturbed: Path,
    sweep_dir: Path,
    *,
    ignored: Sequence[str] = (),
    same_study: bool = True,
    curves_only: bool = False,
) -> Comparison:
    """Compare two sweeps by their records, decisions, test values, measurements, studies and weights, bit for bit.

    Args:
        undisturbed: folder of the sweep that shows what is expected.
        sweep_dir: folder of the disturbed sweep.
        ignored: names of columns that may differ, for example ``config`` if the images were moved.
        same_study: whether the studies must be equal.
        curves_only: compare only epochs that both sweeps have: two slots may meet a rule in another order.
    """
    from sweep.records.reader import read_manifest, read_table
    from sweep.records.schema import EPOCHS, TABLES

    result = Comparison()
    for table in TABLES.values():
        frames = [read_table(folder, table) for folder in (undisturbed, sweep_dir)]
        expected, rows = (frame.set_index(list(table.key)).sort_index() for frame in frames)
        if curves_only:
            common = expected.index.intersection(rows.index) if table == EPOCHS else expected.index[:0]
            expected, rows = expected.loc[common], rows.loc[common]
        _compare_rows(result, table.name, expected, rows, [*NOT_COMPARED, *ignored])
        if table.keep == "first":
            written = pd.concat([pd.DataFrame(columns=list(table.key)), *_parts(sweep_dir / "records" / table.name)])
            result.add("doubled", int(written.duplicated(list(table.key)).sum()), f"{table.name}: rows written twice")
    if same_study and not ignored and read_manifest(undisturbed)["study"] != read_manifest(sweep_dir)["study"]:
        result.add("different", 1, "the study")
    if not curves_only:
        _compare_models(result, undisturbed, sweep_dir)
    left = [str(path.relative_to(sweep_dir)) for path in left_behind(sweep_dir)]
    result.add("left", len(left), f"left behind: {', '.join(left[:3])}")
    return result


def _compare_rows(
    result: Comparison, name: str, expected: pd.DataFrame, rows: pd.DataFrame, ignored: Sequence[str]
) -> None:
    lost, added = expected.index.difference(rows.index), rows.index.difference(expected.index)
    result.add("lost", len(lost), f"{name}: {list(lost[:2])} missing")
    result.add("different", len(added), f"{name}: {list(added[:2])} should not be there")
    common = expected.index.intersection(rows.index)
    columns = [column for column in expected.columns if column not in ignored]
    one, other = expected.loc[common, columns], rows.loc[common].reindex(columns=columns)
    same = np.column_stack(
        [np.ones(len(common), dtype=bool), *(_equal(one[column], other[column]) for column in columns)]
    )
    if not same.all():
        row, column = (int(numbers[0]) for numbers in np.nonzero(~same))
        column_name = columns[column - 1]
        values = f"{one[column_name].iloc[row]!r} is {other[column_name].iloc[row]!r}"
        fact = f"{name}: {column_name} of {common[row]}: {values[:160]}"
        result.add("different", int((~same).any(axis=1).sum()), fact)


def _equal(one: pd.Series[Any], other: pd.Series[Any]) -> np.ndarray:
    equal = one.to_numpy() == other.to_numpy()
    return np.asarray(equal | (one.isna().to_numpy() & other.isna().to_numpy()), dtype=bool)


def _parts(folder: Path) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as pq

    from sweep.records.parts import live_parts

    for part in live_parts(folder):
        yield pq.ParquetFile(part.path).read().to_pandas()


def _compare_models(result: Comparison, undisturbed: Path, sweep_dir: Path) -> None:
    expected, models = weights(undisturbed), weights(sweep_dir)
    for name, tensors in expected.items():
        if name not in models:
            result.add("lost", 1, f"models/{name} missing")
        elif not same_weights(tensors, models[name]):
            result.add("different", 1, f"models/{name}: other weights")


def weights(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the weights of all models by file; a model that cannot be read has none."""
    import torch

    models = {}
    for path in sorted((sweep_dir / "models").glob("*.pt")):
        try:
            models[path.name] = torch.load(path, weights_only=True)["weights"]
        except Exception:
            models[path.name] = {}
    return models


def same_weights(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two states have the same tensors, bit for bit."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def left_behind(sweep_dir: Path) -> list[Path]:
    """Return files of the program that a whole sweep does not have: half-written files, and states of ended trials."""
    files = [path for path in sweep_dir.rglob("*") if path.is_file() and DAMAGED not in path.name]
    return [
        path for path in files if path.suffix == UNFINISHED or ".partial" in path.name or path.match("checkpoints/*.pt")
    ]


def set_aside_files(folder: Path) -> list[Path]:
    """Return the damaged files and folders that were set aside."""
    return [path for path in sorted(folder.rglob("*")) if DAMAGED in path.name]
