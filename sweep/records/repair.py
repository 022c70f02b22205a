"""Finding what is damaged in the records of a sweep, and repairing it: nothing is deleted, all is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.lock import check_held
from sweep.records.counts import counts_paths, read_counts_file, write_counts
from sweep.records.errors import DamagedRecords
from sweep.records.manifest_file import CHECKED, NO_COPY, manifest_copy, read_manifest_file, study_sha256
from sweep.records.merge import merge_parts, remove_superseded
from sweep.records.part_file import PartContent, digest_of, write_copy, write_part
from sweep.records.parts import COPIES, Part, copies_of, gaps_of, list_parts
from sweep.records.schema import EVALUATIONS, MANIFEST, MEASUREMENTS, RECORDS, TABLES, Table
from sweep.records.study_edits import describe_study_edit
from sweep.records.table_files import ReadPart, read_what_is_there, table_folder
from sweep.records.upgrade import upgrade
from trainables.intact import DamagedFile, set_aside
from trainables.whole_file import write_whole

_REGAINED = {
    EVALUATIONS.name: "resume measures the test values of the confirmation again, evaluate all others",
    MEASUREMENTS.name: "evaluate measures again",
}
"""What computes lost rows again, for tables of which it is not ``resume`` alone."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the records.

    Attributes:
        path: file; the folder of the table, if the file is gone.
        problem: what is wrong.
        remedy: what a repair does, or did.
        table: name of the table; "" if the file belongs to none.
        n_lost: number of rows that are lost.
    """

    path: Path
    problem: str
    remedy: str
    table: str = ""
    n_lost: int = 0

    def describe(self) -> str:
        """Return the finding in one line, as after a repair."""
        return f"'{self.path}' is damaged: {self.problem}; {self.remedy}"


def inspect_records(sweep_dir: Path) -> list[Finding]:
    """Return what is wrong with the records, without changing anything.

    Raises:
        RecordsError: there is no sweep, or a newer program wrote it.
    """
    return list(_examine(sweep_dir, repair=False))


def repair_records(sweep_dir: Path) -> list[Finding]:
    """Repair the records and return what was wrong; the sweep must be locked.

    Damaged files are set aside under another name. They are restored from their copies. Rows without an intact copy
    are given up: an empty part takes their place, so that the table can be read and continued.

    Raises:
        RecordsError: there is no sweep, a newer program wrote it, or its ``sweep.json`` cannot be restored.
        LockLost: another process has taken the sweep over; nothing is written.
    """
    check_held(sweep_dir)
    return list(_examine(sweep_dir, repair=True))


def _examine(sweep_dir: Path, *, repair: bool) -> Iterator[Finding]:
    yield from _examine_folders(sweep_dir, repair=repair)
    yield from _examine_manifest(sweep_dir, repair=repair)
    counts, findings = _examine_counts(sweep_dir)
    yield from findings
    if repair:
        for finding in findings:
            if finding.path.exists():
                set_aside(finding.path)
        if findings and counts:
            write_counts(sweep_dir, counts)
        upgrade(sweep_dir)
    ends = {}
    for table in TABLES.values():
        examined = _TableExamination(sweep_dir, table, counts.get(table.name, 0), repair=repair)
        yield from examined.findings()
        ends[table.name] = examined.end
    if repair and ends != counts:
        write_counts(sweep_dir, ends)


def _examine_folders(sweep_dir: Path, *, repair: bool) -> Iterator[Finding]:
    """Set aside what is in the place of a folder; the folder is made again when it is written to."""
    records = sweep_dir / RECORDS
    tables = [table_folder(sweep_dir, table) for table in TABLES.values()]
    for folder in (records, records / COPIES, *tables, *map(copies_of, tables)):
        if os.path.lexists(folder) and not folder.is_dir():
            yield Finding(folder, "it is not a folder", "set aside")
            if repair:
                set_aside(folder)


def _examine_manifest(sweep_dir: Path, *, repair: bool) -> Iterator[Finding]:
    path, copy = sweep_dir / MANIFEST, manifest_copy(sweep_dir)
    manifest, problem = _try_manifest(path)
    second, problem_of_copy = _try_manifest(copy)
    if manifest is None and second is None:
        if not path.exists() and not copy.exists():
            return
        if repair:
            raise DamagedRecords(path, problem, NO_COPY)
        yield Finding(path, problem, NO_COPY)
    elif problem := describe_study_edit(sweep_dir) or problem:
        yield Finding(path, problem, _set_aside_and("restored from its copy", path))
        if repair:
            _replace(path, copy.read_bytes())
    elif second is None and manifest is not None and manifest["schema_version"] >= CHECKED:
        if copy.exists() or _has_checked_part(sweep_dir):  # otherwise a kill came before the first copy was written
            yield Finding(copy, problem_of_copy, _set_aside_and("copied again", copy))
        if repair:
            copy.parent.mkdir(exist_ok=True)
            _replace(copy, path.read_bytes())
    elif repair and second is not None and manifest != second:
        write_whole(copy, path.read_bytes(), parents=False)  # a kill came between the two


def _has_checked_part(sweep_dir: Path) -> bool:
    """Return whether a table has a part that this version, or a newer one, wrote."""
    folders = (table_folder(sweep_dir, table) for table in TABLES.values())
    return any(part.digest for folder in folders for part in list_parts(folder))


def _try_manifest(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return the content of a manifest, or None and what is wrong."""
    try:
        return read_manifest_file(path), ""
    except FileNotFoundError:
        return None, "the file is missing"
    except DamagedFile as error:
        return None, error.reason


def _examine_counts(sweep_dir: Path) -> tuple[dict[str, int], list[Finding]]:
    """Return the counts, zero if they are lost, and what is wrong with their files."""
    problems: dict[Path, str] = {}
    counts: dict[str, int] = {}
    paths = counts_paths(sweep_dir)
    for path in reversed(paths):
        try:
            counts = read_counts_file(path)
        except FileNotFoundError:
            problems[path] = "the file is missing"
        except DamagedFile as error:
            problems[path] = error.reason
    version = _recorded_version(sweep_dir)
    # an older version wrote no counts, and a kill may have come between the first ones and their copy
    if (version is None and len(problems) == 2) or (problems and version is not None and version < CHECKED):
        return {}, []
    remedy = "restored from its copy" if counts else "counted again: rows lost at the end are not noticed"
    return counts, [Finding(path, problem, _set_aside_and(remedy, path)) for path, problem in problems.items()]


def _recorded_version(sweep_dir: Path) -> int | None:
    """Return the schema version of the records; None if no manifest can be read."""
    manifest = _try_manifest(sweep_dir / MANIFEST)[0] or _try_manifest(manifest_copy(sweep_dir))[0] or {}
    version = manifest.get("schema_version")
    return version if isinstance(version, int) else None


def _set_aside_and(remedy: str, path: Path) -> str:
    return f"set aside, {remedy}" if path.exists() else remedy


def _replace(path: Path, content: bytes) -> None:
    """Set a file aside if it is there, and write it anew."""
    if path.exists():
        set_aside(path)
    write_whole(path, content, parents=False)


class _TableExamination:
    """Examination of one table.

    Attributes:
        end: number of rows of the table, including lost ones; known when all findings were taken.
    """

    def __init__(self, sweep_dir: Path, table: Table, n_counted: int, *, repair: bool) -> None:
        self.end = 0
        self._dir = sweep_dir
        self._table = table
        self._folder = table_folder(sweep_dir, table)
        self._n_counted = n_counted
        self._repair = repair

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, each after its repair."""
        listed = list_parts(self._folder)
        read = read_what_is_there(self._dir, self._table)
        parts = [each.part for each in read.parts]
        for each in read.parts:
            yield from self._of_file(each) if each.damage else self._of_copy(each.part)
        for part, error in read.damaged.items():
            for path in (part.path, part.copy):
                if path.exists():
                    yield self._finding(path, error.reason, "set aside")
                    if self._repair:
                        set_aside(path)
        gaps = gaps_of(parts, self._n_counted)
        for first, last in gaps:
            yield self._of_gap(first, last)
        self.end = max(self._n_counted, parts[-1].last + 1 if parts else 0)
        if self._repair:
            others = (part for part in listed if part not in read.damaged)
            remove_superseded(part for part in others if any(_replaces(each, part) for each in read.parts))
            if any(not part.digest for part in parts):  # written by an older version: they get a checksum and a copy
                merge_parts(self._dir, self._table, _study_of(self._dir))

    def _of_file(self, each: ReadPart) -> Iterator[Finding]:
        """Restore a file of which the copy is intact."""
        path = each.part.path
        yield self._finding(path, each.damage, _set_aside_and("restored from its copy", path))
        if self._repair:
            _replace(path, each.part.copy.read_bytes())

    def _of_copy(self, part: Part) -> Iterator[Finding]:
        """Write the copy of an intact file anew; a kill may have come between the file and its copy."""
        if not part.digest:
            return
        copy = part.copy
        try:
            is_intact = digest_of(copy.read_bytes()) == part.digest
            problem = "its content differs from the checksum in its name"
        except OSError:
            is_intact, problem = False, "the second copy is missing"
        if is_intact:
            return
        if copy.exists() or part.last < self._n_counted:
            yield self._finding(copy, problem, _set_aside_and("copied again", copy))
        if self._repair:
            if copy.exists():
                set_aside(copy)
            write_copy(part, part.path.read_bytes())

    def _of_gap(self, first: int, last: int) -> Finding:
        """Write an empty part in the place of rows that are lost for good."""
        if self._repair:
            self._folder.mkdir(exist_ok=True)
            content = PartContent(self._table.schema.empty_table(), _study_of(self._dir), ((first, last),))
            write_part(self._folder, content, self._table, first, last)
        n_lost = last - first + 1
        return self._finding(
            self._folder,
            f"rows {first} to {last} of the table '{self._table.name}' are lost",
            f"given up; {_REGAINED.get(self._table.name, 'resume computes them again')}",
            n_lost=n_lost,
        )

    def _finding(self, path: Path, problem: str, remedy: str, *, n_lost: int = 0) -> Finding:
        return Finding(path, problem, remedy, self._table.name, n_lost)


def _replaces(read: ReadPart, part: Part) -> bool:
    """Return whether a part contains all rows of another one, so that the other one may be deleted.

    A part that was given up as lost and came back, for example from a backup, is kept.
    """
    is_lost = any(first <= part.last and part.first <= last for first, last in read.content.lost)
    return read.part.contains(part) and not is_lost


def _study_of(sweep_dir: Path) -> str:
    """Return the checksum of the study that a sweep has now; "" if there is none."""
    manifest, _ = _try_manifest(sweep_dir / MANIFEST)
    study = manifest.get("study") if manifest else None
    return study_sha256(study) if isinstance(study, dict) else ""
