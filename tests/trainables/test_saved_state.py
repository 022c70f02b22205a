"""Files of models and checkpoints: whole, or refused by name."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.intact import DamagedFile
from trainables.models.saved import model_state, read_model
from trainables.saved_state import read_state, verify_state, write_state
from trainables.trial import Trial

STATE = {"step": 7, "weights": {"layer": torch.arange(6.0)}, "text": "off-0000", "generators": {"order": 2**100}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "off-0000.pt"
    write_state(path, STATE)
    return path


def flipped(content: bytes, count: int) -> Iterator[bytes]:
    """Yield copies of a file with one other bit each: the first and last bytes, and bits drawn from a fixed seed."""
    luck = random.Random(7)
    last = 8 * len(content) - 1
    for bit in [0, last, *(luck.randrange(last) for _ in range(count - 2))]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def test_what_is_written_is_read(path: Path) -> None:
    state = read_state(path)
    assert state["weights"]["layer"].equal(STATE["weights"]["layer"])  # type: ignore[index]
    assert {key: state[key] for key in ("step", "text", "generators")} == {
        key: STATE[key] for key in ("step", "text", "generators")
    }
    assert torch.load(path, weights_only=True)["step"] == 7  # any program reads it


def test_equal_states_have_equal_checksums(path: Path, tmp_path: Path) -> None:
    assert write_state(tmp_path / "again.pt", STATE) == verify_state(path)
    assert write_state(tmp_path / "other.pt", STATE | {"step": 8}) != verify_state(path)


@pytest.fixture(scope="module")
def trial() -> Trial:
    config = TrialConfig.model_validate(
        {"data": {"train_frac": 0.02}, "model": {"name": "tiny", "width": 0.1}, "optimizer": {"max_epochs": 1}}
    )
    trial = Trial(config, prepare_data(config.data))
    trial.run_epoch()
    return trial


@pytest.mark.parametrize(
    ("content_of", "read"),
    [(model_state, read_model), (Trial.state_dict, read_state), (Trial.state_dict, verify_state)],
)
def test_no_damaged_model_or_state_passes(
    trial: Trial, path: Path, content_of: Callable[[Trial], dict[str, Any]], read: Callable[[Path], Any]
) -> None:
    write_state(path, content_of(trial))
    read(path)
    content = path.read_bytes()
    cuts = [content[:size] for size in (0, 1, 21, 22, len(content) - 71, len(content) - 1)]
    for damaged in [*flipped(content, 200), *cuts, content + b"\0", b"not a state"]:
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile, match=r"off-0000\.pt' is damaged: "):
            read(path)


def test_another_intact_file_is_not_the_recorded_one(path: Path) -> None:
    recorded = verify_state(path)
    assert verify_state(path, expected_sha256=recorded) == recorded
    write_state(path, STATE | {"step": 8})
    for read in (read_state, verify_state):
        with pytest.raises(DamagedFile, match=f"not the recorded file: .*{recorded[:8]}"):
            read(path, expected_sha256=recorded)


def test_a_file_of_an_older_version_is_read_unless_its_archive_is_damaged(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    content = buffer.getvalue()
    path.write_bytes(content)
    assert read_state(path)["step"] == 7
    assert len(verify_state(path)) == 64
    place = content.index(STATE["weights"]["layer"].numpy().tobytes())  # type: ignore[index]
    path.write_bytes(content[: place + 1] + b"\x01" + content[place + 2 :])
    with pytest.raises(DamagedFile, match="CRC-32"):
        read_state(path)


def test_a_missing_file_is_not_a_damaged_one(tmp_path: Path) -> None:
    for read in (read_state, verify_state):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.pt")


def test_verifying_needs_no_torch(path: Path) -> None:
    code = "import sys; from pathlib import Path; from trainables.saved_state import verify_state; "
    code += f"verify_state(Path({str(path)!r})); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
