"""A sweep in an object store in a browser: new rows arrive, and the page names its address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.serve import live
from sweep.serve.live import LiveSweep
from sweep.serve.optuna_view import RecordsStorage
from sweep.storage import mirror, opened
from tests.sweep.conftest import Simulation
from tests.sweep.serve.conftest import Client


def test_follows_the_store(bucket: str, study_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.serve.app import App

    monkeypatch.setattr(live, "LOOK_S", 0.0)
    monkeypatch.setattr(mirror, "REFRESH_AFTER_S", 0.0)
    with opened(bucket, write=True, new=True) as sweep:
        Simulation(study_of(), sweep.path).run(6)
    with opened(bucket) as sweep:
        sweeps = [LiveSweep(sweep.path, sweep.place, "box")]
        client = Client(App(sweeps, RecordsStorage(sweeps)))
        before = client("/data/box.json").json
        with opened(bucket, write=True) as again:
            Simulation(study_of(), again.path).run()
        after = client("/data/box.json").json
        assert before["n_ended"] < after["n_ended"] == after["n_trials"]
        assert after["cost"]["requests"] > 0
        assert (after["place"], after["status"]["sweep_dir"]) == (bucket, bucket)
        assert str(tmp_path) not in json.dumps(after)
