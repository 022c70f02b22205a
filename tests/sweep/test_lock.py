"""The lock of a sweep: one driver at any time, on file systems with and without ``flock``; readers write nothing."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweep import driver, lease, lock
from sweep.driver import Driver, DriverObserver, Presence, find_driver
from sweep.lease import (
    LOCK,
    Flock,
    Lease,
    create_lease,
    lease_path,
    parse_lease,
    probe_flock,
    process_began,
    this_boot,
    write_lease,
)
from sweep.lock import LockLost, check_held, is_lost, locked
from sweep.records import writer
from sweep.records.manifest_file import write_manifest
from sweep.records.parts import Part
from sweep.records.repair import repair_records
from sweep.records.schema import EPOCHS
from tests.processes import wait_until
from trainables.errors import UserError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (driver, "HEARTBEAT_S", 0.01),
        (lease.FolderSource, "look_s", 0.005),
        (lock, "CHECK_S", 0.0),
        (lock, "FLOCK_PATIENCE_S", 0.0),
    ):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def soon_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases expire soon; no driver may run beside it, because a busy machine delays heartbeats."""
    monkeypatch.setattr(driver, "EXPIRY_S", 0.15)


@pytest.fixture
def unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no heartbeat come while a test changes the folder: it would see half of the changes."""
    monkeypatch.setattr(driver, "HEARTBEAT_S", 3600.0)


@pytest.fixture(params=[True, False], ids=["flock", "no-flock"])
def flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test on a file system with ``flock`` and on one without."""
    if not request.param:
        _forbid_flock(monkeypatch)
    return bool(request.param)


def _forbid_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lease.fcntl, "flock", unsupported)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def foreign(**changes: Any) -> Lease:
    """Return a lease of another machine."""
    text = "2026-01-01T00:00:00+00:00"
    return replace(Lease("node-b", 7, "12", "another boot", text, text, 1, 1e12, None, None), **changes)


def leave(folder: Path, content: Lease, number: int = 4) -> None:
    create_lease(folder, number)
    write_lease(folder, number, content)


@pytest.fixture
def renewed(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that a driver on another machine holds, whose clocks run backwards."""
    leave(tmp_path, foreign())
    ended = threading.Event()

    def renew() -> None:
        number = 1
        while not ended.wait(0.01):
            number += 1
            write_lease(tmp_path, 4, foreign(heartbeat=number, monotonic_s=-float(number)))

    thread = threading.Thread(target=renew)
    thread.start()
    yield tmp_path
    ended.set()
    thread.join()


class TestOneDriver:
    def test_names_its_holder(self, tmp_path: Path, flock: bool) -> None:
        assert find_driver(tmp_path) is None
        with locked(tmp_path) as held:
            held.news_at_s, held.stall_after_s = time.monotonic() - 90, 60.0
            assert wait_until(lambda: "no epoch" in getattr(find_driver(tmp_path), "stalled", ""))
            found = find_driver(tmp_path)
            assert found is not None
            assert (found.host, found.process) == (socket.gethostname(), os.getpid())
            assert found.heartbeat_age_s is not None
            assert 0 <= found.heartbeat_age_s < driver.EXPIRY_S
            assert re.match(r"no epoch has ended for \d min \d+ s, expected one within 1 min 0 s", found.stalled)
            with pytest.raises(UserError) as refused, locked(tmp_path):
                pass
            assert f"is in use by process {os.getpid()} on {socket.gethostname()} since 20" in str(refused.value)
            assert re.search(r"last heartbeat \d+ s ago: wait until it ends", str(refused.value))
            assert str(refused.value).endswith(f"cutmix-sweep status {tmp_path} --follow")
        assert find_driver(tmp_path) is None
        assert files(tmp_path) == {LOCK}

    def test_numbers_are_used_once(self, tmp_path: Path, flock: bool) -> None:
        for number in (1, 2, 3):
            with locked(tmp_path):
                assert files(tmp_path) == {LOCK, f"{LOCK}-{number}"}

    def test_of_an_older_version_is_seen(self, tmp_path: Path) -> None:
        with (tmp_path / LOCK).open("w") as file:
            lease.fcntl.flock(file, lease.fcntl.LOCK_EX)
            assert find_driver(tmp_path) == Driver()
            with pytest.raises(UserError, match="is in use by another cutmix-sweep: wait"), locked(tmp_path):
                pass

    def test_that_is_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with locked(tmp_path):
            monkeypatch.setattr(driver, "EXPIRY_S", 0.0)
            found = find_driver(tmp_path)
            assert found is not None
            assert re.fullmatch(r"the driver has written no heartbeat for \d+ s", found.stalled)
            with pytest.raises(UserError, match=rf"continue it with: kill -CONT {os.getpid()}; or"), locked(tmp_path):
                pass

    def test_waits_for_a_reader_that_holds_flock_for_an_instant(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lock, "FLOCK_PATIENCE_S", 30.0)
        with (tmp_path / LOCK).open("w") as file:
            lease.fcntl.flock(file, lease.fcntl.LOCK_SH)
            assert probe_flock(tmp_path) is Flock.FREE  # readers do not see each other
            reader = threading.Timer(0.1, file.close)
            reader.start()
            with locked(tmp_path):
                reader.join()

    def test_beats_again_after_a_server_that_did_not_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with locked(tmp_path) as held:
            with monkeypatch.context() as patch:
                for name in ("write_lease", "lease_numbers"):
                    patch.setattr(lock, name, unanswered)
                before = held._n_beats
                assert wait_until(lambda: held._n_beats >= before + 2)
                check_held(tmp_path)
            before = held._n_beats
            assert wait_until(lambda: held._n_beats >= before + 2)

    def test_stays_if_its_lock_file_is_deleted(self, tmp_path: Path, flock: bool) -> None:
        with locked(tmp_path):
            (tmp_path / LOCK).unlink()
            with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
                pass


def is_stopped(process: int) -> bool:
    """Return whether all threads of a process are stopped."""
    stats = [(thread / "stat").read_text() for thread in Path(f"/proc/{process}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def unanswered(*_: Any) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class TestTakingOver:
    @pytest.mark.usefixtures("soon_expired")
    @pytest.mark.parametrize("n_rounds", [5])
    def test_exactly_one_of_several_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rounds: int) -> None:
        """All see that the lease has expired before the first of them creates its own."""
        _forbid_flock(monkeypatch)
        n_threads, create = 4, lock.create_lease
        ready, done = threading.Barrier(n_threads, timeout=60), threading.Barrier(n_threads, timeout=60)
        won: list[str] = []

        def create_together(sweep_dir: Path, number: int) -> None:
            ready.wait()
            create(sweep_dir, number)

        def resume() -> None:
            try:
                with locked(tmp_path):
                    won.append("won")
                    done.wait()
            except UserError as error:
                won.append(str(error))
                done.wait()

        monkeypatch.setattr(lock, "create_lease", create_together)
        for number in range(n_rounds):
            won.clear()
            leave(tmp_path, foreign(), number=10 * (number + 1))
            threads = [threading.Thread(target=resume) for _ in range(n_threads)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert won.count("won") == 1
            assert sum("is in use by" in words for words in won) == n_threads - 1

    def test_a_stale_number_is_not_enough(self, tmp_path: Path) -> None:
        """Two runs have passed since the number was read: the lease with that number is no lock."""
        leave(tmp_path, foreign(), number=7)
        with pytest.raises(UserError, match="in use by process 7 on node-b"):
            lock._take(tmp_path, 6)
        assert files(tmp_path) == {f"{LOCK}-7"}

    @pytest.mark.usefixtures("soon_expired")
    def test_waits_for_the_heartbeat_of_another_machine(self, tmp_path: Path, flock: bool) -> None:
        leave(tmp_path, foreign())
        shown: list[str] = []

        def show_status(text: str) -> Any:
            shown.append(text)
            return lock.nullcontext()

        began_s = time.monotonic()
        with locked(tmp_path, show_status=show_status):
            assert time.monotonic() - began_s >= 0.15
            assert files(tmp_path) == {LOCK, f"{LOCK}-5"}
        assert re.fullmatch(r"waiting up to 0 s for a heartbeat of process 7 on node-b since .*", shown[0])

    @pytest.mark.usefixtures("soon_expired")
    def test_a_reader_waits_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        leave(tmp_path, foreign())
        assert find_driver(tmp_path) is None
        monkeypatch.setattr(driver, "EXPIRY_S", 1e6)
        assert find_driver(tmp_path) is None
        write_lease(tmp_path, 4, foreign(heartbeat=2))
        assert DriverObserver(tmp_path).look() is Presence.UNCLEAR

    def test_a_living_one_on_another_machine_stays(self, renewed: Path, flock: bool) -> None:
        """Clocks that differ, or are set, change nothing: only new heartbeats count."""
        with pytest.raises(UserError, match="in use by process 7 on node-b"), locked(renewed):
            pass
        found = find_driver(renewed)
        assert found is not None
        assert found.heartbeat_age_s is not None
        assert found.heartbeat_age_s < driver.EXPIRY_S

    def test_a_dead_one_of_this_machine_is_taken_over_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver, "EXPIRY_S", 1e6)
        ended = subprocess.Popen(["true"])
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert process_began(ended.pid) == ""  # it has ended, although its parent has not asked for its exit code
        here = foreign(boot=this_boot(), process=ended.pid, process_began="1")
        leave(tmp_path, here)
        assert find_driver(tmp_path) is None
        with locked(tmp_path):
            pass
        ended.wait()
        leave(tmp_path, replace(here, process=os.getpid()), number=7)  # another process has its id now
        with locked(tmp_path):
            pass

    @pytest.mark.usefixtures("soon_expired")
    def test_an_observer_judges_by_its_own_clock(self, tmp_path: Path) -> None:
        now_s = 100.0
        leave(tmp_path, foreign())
        observer = DriverObserver(tmp_path, clock=lambda: now_s)
        assert observer.look() is Presence.UNCLEAR
        assert observer.glance() is not None
        now_s += 0.1
        write_lease(tmp_path, 4, foreign(heartbeat=2, heartbeat_at="1999-01-01T00:00:00+00:00"))
        assert observer.look() is Presence.ALIVE
        now_s += 0.1
        assert observer.look() is Presence.ALIVE
        now_s += 0.1
        assert observer.look() is Presence.GONE
        assert observer.look_as_successor(lambda: Flock.UNSUPPORTED) is Presence.GONE

    @pytest.mark.usefixtures("soon_expired")
    def test_flock_that_another_machine_holds_is_proof(self, tmp_path: Path) -> None:
        """Some file systems pass it on; without a heartbeat its holder is stopped, and not gone."""
        now_s = 100.0
        leave(tmp_path, foreign())
        observer = DriverObserver(tmp_path, clock=lambda: now_s)
        with (tmp_path / LOCK).open("w") as file:
            lease.fcntl.flock(file, lease.fcntl.LOCK_EX)
            assert observer.look() is Presence.UNCLEAR
            now_s += 1
            assert observer.look() is Presence.ALIVE
            assert observer.describe().is_stopped
        assert observer.look() is Presence.GONE

    @pytest.mark.usefixtures("soon_expired")
    def test_one_of_this_machine_without_flock_lives_until_its_heartbeat_expires(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that is not seen may run in another container."""
        _forbid_flock(monkeypatch)
        now_s = 100.0
        leave(tmp_path, foreign(boot=this_boot(), process=os.getpid(), monotonic_s=now_s))
        (tmp_path / LOCK).touch()
        observer = DriverObserver(tmp_path, clock=lambda: now_s)
        assert observer.look() is Presence.ALIVE
        now_s += 1
        assert observer.look() is Presence.GONE

    def test_a_lease_that_is_being_written_says_what_it_said(self, tmp_path: Path) -> None:
        leave(tmp_path, foreign())
        observer = DriverObserver(tmp_path)
        observer.look()
        whole = lease_path(tmp_path, 4).read_bytes()
        for half in (whole[:100], whole.replace(b"node-b", b"node-c")):
            lease_path(tmp_path, 4).write_bytes(half)
            assert parse_lease(half) is None
            observer.look()
            assert observer.describe().host == "node-b"


class TestLoss:
    @pytest.mark.usefixtures("soon_expired")
    def test_a_stopped_driver_writes_nothing_more(self, tmp_path: Path) -> None:
        """``kill -STOP`` until another has taken over, then ``kill -CONT``; a file system without ``flock``."""
        program = (
            "import errno, sys, time\n"
            "from pathlib import Path\n"
            "from sweep import driver, lease, lock\n"
            "from sweep.records.schema import EPOCHS\n"
            "from sweep.records.writer import RecordsWriter\n"
            "def unsupported(*_): raise OSError(errno.ENOLCK, 'no')\n"
            "lease.fcntl.flock, driver.HEARTBEAT_S, lock.CHECK_S = unsupported, 0.02, 0.1\n"
            "out = Path(sys.argv[1])\n"
            "with lock.locked(out):\n"
            "    records, epoch = RecordsWriter(out), 0\n"
            "    while True:\n"
            "        epoch += 1\n"
            "        records.add(EPOCHS, {'trial': 'off-0000', 'epoch': epoch})\n"
            "        records.flush(force=True)\n"
            "        time.sleep(0.02)\n"
        )
        parts = tmp_path / "records" / "epochs"
        process = subprocess.Popen([sys.executable, "-c", program, tmp_path], stderr=subprocess.PIPE, text=True)
        try:
            assert wait_until(lambda: list(parts.glob("part-*.parquet")))
            process.send_signal(signal.SIGSTOP)
            assert wait_until(lambda: is_stopped(process.pid))
            with pytest.MonkeyPatch.context() as patch:
                _forbid_flock(patch)
                with locked(tmp_path):
                    before = {path: path.read_bytes() for path in parts.glob("part-*.parquet")}
                    process.send_signal(signal.SIGCONT)
                    _, errors = process.communicate(timeout=60)
                    after = {path: path.read_bytes() for path in parts.glob("part-*.parquet")}
                    assert after.items() <= before.items()  # rows of the moment in which it was stopped are taken back
                    assert files(tmp_path) == {LOCK, f"{LOCK}-2", "records"}
        finally:
            process.kill()
            process.communicate()
        last = errors.splitlines()[-1]
        assert f"was taken over by process {os.getpid()} on {socket.gethostname()} while this process" in last

    @pytest.mark.usefixtures("unnoticed")
    def test_is_said_once_and_kept(self, tmp_path: Path) -> None:
        assert not is_lost(tmp_path)
        check_held(tmp_path)
        with locked(tmp_path):
            check_held(tmp_path)
            leave(tmp_path, foreign(), number=9)
            with pytest.raises(LockLost, match="was taken over by process 7 on node-b"):
                check_held(tmp_path)
            assert is_lost(tmp_path)
            assert LockLost.exit_code == 2
        assert files(tmp_path) == {LOCK, f"{LOCK}-1", f"{LOCK}-9"}  # of the successor nothing is touched
        assert parse_lease(lease_path(tmp_path, 9).read_bytes()) == foreign()

    def test_a_part_is_taken_back_if_the_lock_was_lost_meanwhile(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``kill -STOP`` came while it was written: the successor has written other rows with the same numbers."""

        def write_part(*arguments: Any) -> Part:
            part = parts_written(*arguments)
            leave(tmp_path, foreign(), number=9)
            return part

        parts_written = writer.write_part
        monkeypatch.setattr(writer, "write_part", write_part)
        with locked(tmp_path):
            records = writer.RecordsWriter(tmp_path)
            records.add(EPOCHS, {"trial": "off-0000", "epoch": 1})
            with pytest.raises(LockLost):
                records.flush(force=True)
        assert list((tmp_path / "records").rglob("part-*")) == []

    def test_neither_manifest_nor_repair_is_written(self, tmp_path: Path) -> None:
        """Decoding images and starting Ray take minutes before them."""
        with locked(tmp_path):
            leave(tmp_path, foreign(), number=9)
            for write in (lambda: write_manifest(tmp_path, {}), lambda: repair_records(tmp_path)):
                with pytest.raises(LockLost):
                    write()
        assert files(tmp_path) == {LOCK, f"{LOCK}-1", f"{LOCK}-9"}

    @pytest.mark.usefixtures("unnoticed")
    def test_a_successor_that_has_ended_counts_too(self, tmp_path: Path) -> None:
        with locked(tmp_path):
            leave(tmp_path, foreign(), number=2)
            lease_path(tmp_path, 1).unlink()
            lease.remove_released(tmp_path, 2)
            with pytest.raises(LockLost, match="was taken over by another cutmix-sweep"):
                check_held(tmp_path)

    @pytest.mark.usefixtures("unnoticed")
    def test_just_before_the_end_leaves_the_number_of_the_successor(self, tmp_path: Path) -> None:
        with locked(tmp_path):
            leave(tmp_path, foreign(), number=9)
        assert lease.read_last_number(tmp_path) == 0

    def test_the_lease_was_deleted(self, tmp_path: Path) -> None:
        with locked(tmp_path):
            lease_path(tmp_path, 1).unlink()
            with pytest.raises(LockLost, match=r"\.lock-1' was deleted while it was in use.*resume"):
                check_held(tmp_path)
        assert files(tmp_path) == {LOCK}

    def test_the_folder_is_gone(self, tmp_path: Path) -> None:
        folder = tmp_path / "box"
        folder.mkdir()
        with locked(folder):
            folder.rename(tmp_path / "moved")
            with pytest.raises(LockLost, match="was moved or deleted while it was in use"):
                check_held(folder)
        assert not folder.exists()


def test_a_reader_leaves_nothing_behind(tmp_path: Path) -> None:
    assert find_driver(tmp_path / "none") is None
    assert find_driver(tmp_path) is None
    assert files(tmp_path) == set()
    with locked(tmp_path):
        (tmp_path / LOCK).chmod(0o400)
        tmp_path.chmod(0o500)
        assert find_driver(tmp_path) is not None
        tmp_path.chmod(0o700)
