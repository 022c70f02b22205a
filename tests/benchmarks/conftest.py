"""Benchmarks compare two implementations within one run: ratios are comparable between machines, seconds are not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import pytest
import torch

Compare = Callable[..., float]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compare(benchmark, capsys: pytest.CaptureFixture[str]) -> Compare:  # type: ignore[no-untyped-def]
    """Time ours and theirs in turn; return the ratio theirs / ours, median over rounds."""

    def _compare(name: str, *, ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> float:
        ours(), theirs()  # warm up
        seconds = [(_timed(ours), _timed(theirs)) for _ in range(rounds)]
        ratios = [slow / fast for fast, slow in seconds]
        ratio = statistics.median(ratios)
        benchmark.extra_info.update(ratio=ratio, lowest=min(ratios), highest=max(ratios), rounds=rounds)
        benchmark.pedantic(ours, rounds=1)
        with capsys.disabled():
            print(f"\n{name}: {ratio:.1f}x ({min(ratios):.1f} to {max(ratios):.1f} in {rounds} rounds)")
        return ratio

    return _compare


def _timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
