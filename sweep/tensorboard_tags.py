"""Names of values in TensorBoard, for the export and the live logger."""

from __future__ import annotations

TAGS = {
    "train_loss": "train/loss",
    "lr": "train/lr",
    "effective_prob": "mixing/effective_prob",
    "pasted_frac": "mixing/pasted_frac",
}
"""Tag by column of the epochs table; ``val_nll`` becomes ``val/nll``, and so on; all other columns ``run/...``."""


def tag_of(column: str) -> str:
    """Return the tag of a column of the epochs table, or of a test value.

    Examples:
        >>> tag_of("val_nll"), tag_of("train_loss"), tag_of("seconds"), tag_of("test_nll")
        ('val/nll', 'train/loss', 'run/seconds', 'test/nll')
    """
    for split in ("val", "test"):
        if column.startswith(f"{split}_"):
            return f"{split}/{column.removeprefix(f'{split}_')}"
    return TAGS.get(column, f"run/{column}")
