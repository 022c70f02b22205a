"""Records of an older version, brought to the layout of this one."""

from __future__ import annotations

from pathlib import Path

from sweep.records.counts import start_counts
from sweep.records.errors import RecordsError
from sweep.records.manifest_file import present_study, read_manifest_file, study_sha256, write_manifest
from sweep.records.parts import copies_of
from sweep.records.schema import MANIFEST, RECORDS, SCHEMA_VERSION, TABLES


def upgrade(sweep_dir: Path) -> None:
    """Bring the records of an older version to the present schema: an older version then refuses them.

    The manifest goes before the tables: after a kill in between, no older program appends to renamed tables.

    Raises:
        RecordsError: a newer program wrote the records, or they have a table under two names.
    """
    start_counts(sweep_dir)  # no rows: the number that is certainly there
    if (sweep_dir / MANIFEST).exists():
        manifest = read_manifest_file(sweep_dir / MANIFEST)
        if manifest["schema_version"] < SCHEMA_VERSION:
            if "study" in manifest:  # the present version reads no old names and defaults any more
                manifest = {**manifest, "study": present_study(manifest)}
            if runs := manifest.get("runs"):
                last = {**runs[-1], "study_sha256": study_sha256(manifest["study"])}
                manifest = {**manifest, "runs": [*runs[:-1], last]}
            write_manifest(sweep_dir, {**manifest, "schema_version": SCHEMA_VERSION})
    for table in TABLES.values():
        if table.old_name is None or not (old := sweep_dir / RECORDS / table.old_name).is_dir():
            continue
        new = sweep_dir / RECORDS / table.name
        if new.exists():
            raise RecordsError(f"'{new.parent}' has '{old.name}' and '{new.name}', but an older version has only one")
        old.rename(new)
        if copies_of(old).is_dir():
            copies_of(old).rename(copies_of(new))
