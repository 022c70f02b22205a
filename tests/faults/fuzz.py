"""Bad inputs for the command line: each must end in one short message and exit code 2, or be harmless.

Each input runs in a process of its own, with bounds on time and memory. An input is a pure function of its kind, its
number and the seed. No input starts Ray, a notebook or a browser: the program ends where they would start.

From the root of the repository; one input of a fault can be run alone:

    python -m tests.faults.fuzz --inputs 1500 --seed 1
    python -m tests.faults.fuzz --seed 1 --only "studies 17"
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.inputs.base import ACCEPTED, REFUSED, REPORTED, Input, MakeInput, Supplies
from tests.faults.inputs.folders import damaged_manifest, damaged_records
from tests.faults.inputs.options import odd_option
from tests.faults.inputs.photos import odd_photos, write_photos
from tests.faults.inputs.process import Ran, prepare_process, run
from tests.faults.inputs.studies import mutated_study, other_file, setting
from tests.faults.inputs.sweeps import write_sweeps

KINDS: dict[str, tuple[MakeInput, float]] = {
    "studies": (mutated_study, 0.28),
    "files": (other_file, 0.10),
    "settings": (setting, 0.15),
    "options": (odd_option, 0.17),
    "records": (damaged_records, 0.13),
    "manifests": (damaged_manifest, 0.10),
    "images": (odd_photos, 0.07),
}
"""Function that makes the inputs of a kind, and their fraction of all inputs."""

LONGEST_MESSAGE = 4_000
"""Largest number of characters on standard error."""

REPORTING = ("check", "check-part", "doctor", "evaluate")
"""Verbs that end with exit code 1 if they find something wrong."""

FINE = (ACCEPTED, REFUSED, REPORTED)
"""Outcomes that are no faults."""


def outcome_of(given: Input, ran: Ran, supplies: Supplies, written: list[str]) -> str:
    """Return what an input came to; words in capitals are faults."""
    outcomes = {0: ACCEPTED, 2: ACCEPTED if f"'{supplies.full}' is not empty" in ran.stderr else REFUSED}
    if given.arguments[0] in REPORTING:
        outcomes[1] = REPORTED
    outcome = outcomes.get(-1 if ran.exit_code is None else ran.exit_code, f"EXIT {ran.exit_code}")
    problems = {
        "RAN CODE": supplies.trap.exists(),
        "TOO SLOW": ran.exit_code is None,
        "TOO MUCH MEMORY": ran.used_up_memory,
        "TRACEBACK": "Traceback (most recent call last)" in ran.stderr,
        "LONG MESSAGE": len(ran.stderr) > LONGEST_MESSAGE,
        "NO MESSAGE": outcome == REFUSED and not ran.stderr.strip(),
        "WROTE OUTSIDE": bool(written) and not given.may_write,
        f"WRONGLY {outcome.upper()}": outcome in FINE and given.wanted not in (None, outcome),
    }
    return next((name for name, is_so in problems.items() if is_so), outcome)


def make_supplies(root: Path) -> Supplies:
    """Write what inputs are made from to a folder."""
    write_photos(root / "photos")
    (root / "full").mkdir(parents=True)
    (root / "full" / "file").touch()
    return Supplies(write_sweeps(root / "sweeps"), root / "photos", root / "full", root / "trap")


def numbered(n_inputs: int) -> Iterator[tuple[str, int]]:
    """Yield kind and number of about ``n_inputs`` inputs."""
    for kind, (_, fraction) in KINDS.items():
        for number in range(max(1, round(n_inputs * fraction))):
            yield kind, number


def try_input(kind: str, number: int, seed: int, root: Path, supplies: Supplies) -> tuple[str, Input, Ran]:
    """Make and run one input; its folder is removed, unless there was a fault."""
    place = root / "inputs" / f"{kind}-{number}"
    folder = place / "a" / "b" / "here"
    folder.mkdir(parents=True)
    given = KINDS[kind][0](folder, random.Random(f"{seed} {kind} {number}"), number, supplies)
    before = _names(place, folder) | _names(root, root / "inputs")
    ran = run(given.arguments, folder)
    written = sorted((_names(place, folder) | _names(root, root / "inputs")) - before)
    outcome = outcome_of(given, ran, supplies, written)
    supplies.trap.unlink(missing_ok=True)
    if outcome in FINE:
        shutil.rmtree(place)
    return outcome, given, ran


def _names(folder: Path, without: Path) -> set[str]:
    """Return the paths below a folder, except those below another one."""
    paths = set()
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) != without]
        paths |= {f"{parent}/{name}" for name in (*folders, *files)}
    return paths


def main() -> int:
    """Try all inputs; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="Run bad inputs and print what they come to.")
    parser.add_argument("--inputs", type=int, default=1_500, metavar="N", help="number of inputs (default: 1500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the inputs (default: 1)")
    parser.add_argument("--kind", choices=list(KINDS), help="only inputs of this kind (default: all kinds)")
    parser.add_argument("--only", metavar="'KIND NUMBER'", help="run one input and print what it printed")
    parser.add_argument(
        "--work", type=Path, help="folder for the inputs; inputs with faults stay there (default: a temporary folder)"
    )
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="fuzz-", dir=options.work)).absolute()
    prepare_process(root)
    supplies = make_supplies(root / "supplies")
    chosen = [(kind, number) for kind, number in numbered(options.inputs) if options.kind in (None, kind)]
    if options.only:
        kind, _, text = options.only.partition(" ")
        chosen = [(kind, int(text))]
    n_faults = try_all(chosen, options.seed, root, supplies, show=bool(options.only))
    if not n_faults:
        shutil.rmtree(root)
    return int(n_faults > 0)


def try_all(chosen: list[tuple[str, int]], seed: int, root: Path, supplies: Supplies, *, show: bool = False) -> int:
    """Try inputs, print each fault and a table; return the number of faults."""
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    runs: list[tuple[str, Ran]] = []
    for kind, number in chosen:
        outcome, given, ran = try_input(kind, number, seed, root, supplies)
        outcomes[kind][outcome] += 1
        runs.append((f"{kind} {number}", ran))
        if outcome not in FINE or show:
            last = (ran.stderr.strip().splitlines() or [""])[-1]
            command = " ".join(given.arguments)[:200]
            print(f"{outcome:16} {kind} {number}: {given.label[:100]}: {command!r}: {last[:200]!r}")
            sys.stdout.flush()
        if show:
            print(ran.stdout, ran.stderr, sep="\n")
    total: Counter[str] = sum(outcomes.values(), Counter())
    for kind, counts in outcomes.items():
        if counts:
            print(f"{kind:10} {counts.total():5}  {dict(counts.most_common())}")
    n_faults = sum(count for outcome, count in total.items() if outcome not in FINE)
    print(f"{'all':10} {total.total():5}  {dict(total.most_common())}")
    for name, unit in (("cpu_s", "s of processor time"), ("wall_s", "s"), ("memory_mb", "MB beside the program's own")):
        largest = max(runs, key=lambda each: getattr(each[1], name))
        print(f"largest {name}: {getattr(largest[1], name):.1f} {unit} ({largest[0]})")
    print(f"{n_faults} faults in {total.total()} inputs, seed {seed}" + (f"; in {root / 'inputs'}" if n_faults else ""))
    return n_faults


if __name__ == "__main__":
    sys.exit(main())
