"""All checks and measurements that need a GPU, in one command and under eight minutes::

    python -m tests.gpu --out FOLDER          # on a machine with one GPU
    python -m tests.gpu --tiny --out FOLDER   # anywhere: small sizes, to see that all parts run

It needs torch, numpy, pydantic, filelock and pillow, and scipy for some presets; Ray, pandas and pytest are not needed.
The product is compared with torchvision and timm where they are installed.

Each section is a process of its own: an error of CUDA ends one section, not the run. Rows are printed and written as
they come: ``rows.jsonl``, and from it ``results.json`` and ``results.md``. The exit code is 1 if a law does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import torch

import tests.gpu.trials  # noqa: F401 - once, before the sections are forked
from tests.gpu.context import TINY, Context, Scale
from tests.gpu.goals import goal_rows
from tests.gpu.machine import describe_machine
from tests.gpu.rows import FAIL, PASS, SKIP, Row, append_row, read_rows, write_report

FORK = multiprocessing.get_context("fork")

GRACE_S = 10.0
"""Time that a section may need beyond its share until it is ended."""


SECTIONS = {
    "steps": 75,
    "saves": 30,
    "draws": 20,
    "transfers": 45,
    "memory": 30,
    "checkpoints": 20,
    "speed": 150,
    "packing": 95,
    "probe": 25,
    "training": 50,
}
"""Modules of the folder ``sections`` in their order, with the share of the budget that each may use.

What a section leaves is for those after it.
"""


def main() -> int:
    """Run the sections that the command line asks for; return the exit code."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a time limit ends the section as well
    args.out.mkdir(parents=True, exist_ok=True)
    rows_file = args.out / "rows.jsonl"
    rows_file.unlink(missing_ok=True)
    torch.set_num_threads(1)  # a process that has started threads must not be forked
    started_s = time.time()
    machine = _in_process(describe_machine)
    if machine["device"] == "cpu" and not args.tiny:
        print("there is no GPU: --tiny runs all parts with small sizes on a CPU", file=sys.stderr)
        return 2
    print("; ".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    for position, name in enumerate(names := args.sections):
        left_s = started_s + args.budget - time.time()
        weights = [SECTIONS[other] for other in names[position:]]
        limit_s = (left_s - GRACE_S) * weights[0] / sum(weights)
        _run_section(name, args, machine, started_s=started_s, limit_s=limit_s)
    for row in goal_rows(read_rows(rows_file), machine["device"], at_s=time.time() - started_s):
        append_row(rows_file, row)
        print(row.as_line(), flush=True)
    rows = read_rows(rows_file)
    write_report(args.out, machine, rows)
    failed = sum(row.verdict == FAIL for row in rows)
    print(f"{len(rows)} rows, {failed} failed, {time.time() - started_s:.0f} s; see {args.out / 'results.md'}")
    return 1 if failed else 0


def _run_section(name: str, args: Any, machine: dict[str, Any], *, started_s: float, limit_s: float) -> None:
    """Run one section in a process of its own, and write the report while it runs."""
    rows_file, begun_s = args.out / "rows.jsonl", time.time()
    context = partial(
        Context,
        name,
        scale=TINY if args.tiny else Scale(),
        out=args.out,
        started_s=started_s,
        until_s=begun_s + limit_s,
        device="cpu" if machine["device"] == "cpu" else "cuda",
        only=args.only,
        images=args.images,
    )
    process = FORK.Process(target=_section, args=(name, context))
    process.start()
    problem = ""
    try:
        while process.is_alive() and time.time() < begun_s + limit_s + GRACE_S:
            process.join(1)
            write_report(args.out, machine, read_rows(rows_file))
        if process.is_alive():
            problem = f"stopped after {time.time() - begun_s:.0f} s; its share was {limit_s:.0f} s"
        elif process.exitcode:
            problem = f"ended with exit code {process.exitcode}"
    finally:
        process.kill()
        with contextlib.suppress(ProcessLookupError):  # also processes that the section has started
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    if problem:
        row = Row(name, "the section", FAIL, remark=problem, at_s=time.time() - started_s)
        append_row(rows_file, row)
        print(row.as_line(), flush=True)
    rows = [row for row in read_rows(rows_file) if row.section == name]
    counts = ", ".join(f"{sum(row.verdict == verdict for row in rows)} {verdict}" for verdict in (PASS, FAIL, SKIP))
    verdict = FAIL if any(row.verdict == FAIL for row in rows) else PASS
    print(f"section {name}: {verdict} ({counts}) in {time.time() - begun_s:.0f} s", flush=True)


def _section(name: str, make_context: Callable[[], Context]) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    importlib.import_module(f"tests.gpu.sections.{name}").run(make_context())


def _in_process(function: Callable[[], Any]) -> Any:
    """Return the result of a function that starts CUDA, which a process that forks must not do."""
    results = FORK.SimpleQueue()
    process = FORK.Process(target=lambda: results.put(function()))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} ended with exit code {process.exitcode}")
    return results.get()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, for example gpu-results")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds for the whole run (default: 480)")
    parser.add_argument(
        "--sections", default=",".join(SECTIONS), help="comma-separated sections, for example speed (default: all)"
    )
    parser.add_argument("--only", default="", help="regular expression for the names of parts, for example 'resnet18'")
    parser.add_argument("--images", default="", help="data source with real images, for example imagefolder:photos")
    parser.add_argument("--tiny", action="store_true", help="small sizes, which a CPU runs in about a minute")
    args = parser.parse_args()
    args.sections = args.sections.split(",")
    if unknown := [name for name in args.sections if name not in SECTIONS]:
        parser.error(f"--sections has no {unknown[0]!r}; choose from {', '.join(SECTIONS)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
