"""Injects many faults of all kinds and prints what was lost: ``python -m tests.faults.chaos --faults 500 --seed 1``.

Kinds and places are drawn by a seeded generator. A fault whose place is not reached is drawn again. Without ``--ray``,
the kinds that need a real Ray are left out; with it, each of them is injected ``--ray-faults`` times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.faults import one_slot
from tests.faults.kinds import Kind, Outcome, all_kinds, run_fault
from tests.faults.sweeps import STUDIES, Lab

ATTEMPTS = 5
"""Times that a fault is drawn until its place is reached."""


def run_plan(lab: Lab, plan: Sequence[tuple[Kind, int]], folder: Path, *, label: str = "") -> Iterator[Outcome]:
    """Inject the faults of a plan one after another; yield what each of them did."""
    for number, (which, seed) in enumerate(plan):
        for attempt in range(ATTEMPTS):
            place = folder / f"{label}{number:04d}-{attempt}-{which.name.replace(' ', '-')}"
            outcome = run_fault(lab, which, seed + 1_000_003 * attempt, place)
            if outcome.n_faults or outcome.skipped or not outcome.is_good:
                break
        yield outcome


def draw_plan(kinds: Sequence[Kind], count: int, luck: random.Random) -> list[tuple[Kind, int]]:
    """Draw kinds by their weights, each at least once, and a seed for each fault."""
    drawn = [*kinds, *luck.choices(kinds, weights=[which.weight for which in kinds], k=max(0, count - len(kinds)))]
    luck.shuffle(drawn)
    return [(which, luck.randrange(1_000_000)) for which in drawn]


def run_parallel(lab: Lab, plan: Sequence[tuple[Kind, int]], folder: Path, jobs: int) -> list[Outcome]:
    """Inject faults in several processes; print each fault of which something does not hold."""
    files = [folder / f"outcomes-{job}.jsonl" for job in range(jobs)]
    pids = []
    for job, file in enumerate(files):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        code = 1
        try:
            with file.open("w", encoding="utf-8") as lines:
                for outcome in run_plan(lab, plan[job::jobs], folder, label=f"{job}-"):
                    lines.write(json.dumps(asdict(outcome)) + "\n")
                    lines.flush()
                    show(outcome)
            code = 0
        finally:
            os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        raise SystemExit(f"a process of the suite itself ended with {codes}")
    return [Outcome(**json.loads(line)) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def show(outcome: Outcome) -> None:
    """Print a fault of which something does not hold."""
    if not outcome.is_good:
        lines = "".join(f"\n    {problem}" for problem in outcome.problems)
        print(f"{outcome.kind} (seed {outcome.seed}, {outcome.place}):{lines}", flush=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the results by kind as a Markdown table, with a last row for all."""
    header = "| kind | faults | lost | doubled | silent differences | refused | not regained | other problems | s |"
    lines = [header, "| --- | --: | --: | --: | --: | --: | --: | --: | --: |"]
    names = sorted({outcome.kind for outcome in outcomes})
    for name in [*names, "all"]:
        rows = [outcome for outcome in outcomes if name in ("all", outcome.kind)]
        sums = [
            sum(getattr(row, field) for row in rows)
            for field in ("n_faults", "lost", "doubled", "different", "refused", "not_regained")
        ]
        others = sum(bool(row.problems) and not (row.lost or row.doubled or row.different) for row in rows)
        seconds = sum(row.seconds for row in rows) / max(len(rows), 1)
        label = f"{name} (skipped: {rows[0].skipped[:60]})" if rows and all(row.skipped for row in rows) else name
        lines.append("| " + " | ".join([label, *map(str, [*sums, others]), f"{seconds:.1f}"]) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="number of faults without Ray (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all draws (default: 1)")
    parser.add_argument("--kind", action="append", help="name of a kind; may be repeated (default: all)")
    parser.add_argument("--ray", action="store_true", help="also the kinds that need a real Ray")
    parser.add_argument("--ray-faults", type=int, default=1, help="faults per kind on Ray (default: 1)")
    parser.add_argument("--quick", action="store_true", help="without the kinds that take longest")
    parser.add_argument("--jobs", type=int, default=1, help="processes, for the kinds without Ray (default: 1)")
    parser.add_argument("--work", type=Path, help="folder for all files (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="file to write the outcomes to")
    given = parser.parse_args(argv)
    kinds = choose_kinds(given.kind, quick=given.quick)
    work = given.work or Path(tempfile.mkdtemp(prefix="chaos-"))
    work.mkdir(parents=True, exist_ok=True)
    began_s, luck = time.monotonic(), random.Random(given.seed)
    one_slot.install()
    lab = Lab(work / "lab")
    local = [which for which in kinds if not which.ray]
    outcomes = []
    if local:
        if given.jobs > 1:
            prepare(lab)
        outcomes = run_parallel(lab, draw_plan(local, given.faults, luck), work, given.jobs)
    if given.ray:
        on_ray = [which for which in kinds if which.ray for _ in range(given.ray_faults)]
        for outcome in run_plan(lab, [(which, luck.randrange(1_000_000)) for which in on_ray], work, label="ray-"):
            show(outcome)
            outcomes.append(outcome)
    print(table(outcomes))
    print(f"{time.monotonic() - began_s:.0f} s, seed {given.seed}, files in {work}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n", encoding="utf-8")
    return int(not all(outcome.is_good for outcome in outcomes))


def choose_kinds(names: Sequence[str] | None, *, quick: bool) -> list[Kind]:
    """Return the kinds of some names, or all kinds.

    Raises:
        SystemExit: there is no kind of a name.
    """
    kinds = all_kinds()
    if unknown := set(names or ()) - kinds.keys():
        raise SystemExit(f"no kind {sorted(unknown)}: choose from {sorted(kinds)}")
    return [which for which in kinds.values() if (names is None or which.name in names) and not (quick and which.slow)]


def prepare(lab: Lab) -> None:
    """Make the sweeps that several processes would make at once otherwise."""
    for name in STUDIES:
        lab.undisturbed(name)
    for call in (2, 4, 6, 7, 12):
        lab.interrupted("plain", call)
    lab.changed("plain", "extend", "--add-seeds", "1")
    lab.changed("plain", "evaluate", "--axes", "calibration")
    lab.changed("plain", "export")


if __name__ == "__main__":
    sys.exit(main())
