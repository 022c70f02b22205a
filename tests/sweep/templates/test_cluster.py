"""What a cluster is described with, and what is refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from sweep.templates.cluster import NODES, Cluster, describe_cluster
from sweep.templates.pins import pinned_versions
from trainables.errors import UserError

STUDY = """\
question: Mine?
arms: {off: {mix: off}}
search: grid
budget: {max_epochs: 7, early_stopping: {rule: none}}
"""


def described(kind: str = "kuberay", study: str | Path = "quickstart", **values: Any) -> Cluster:
    if kind == "aws":
        values.setdefault("storage", "s3://my-bucket/sweeps")
    options: Mapping[str, object] = values.pop("options", {})
    return describe_cluster(kind, str(study), options=options, **values)


@pytest.mark.parametrize(
    ("cpus", "gpus", "node_cpus", "node_gpus", "n_trials"),
    [(1, 0, 8, 0, 8), (3, 0, 8, 4, 2), (1, 1, 8, 2, 2), (1, 0.3, 8, 2, 6), (1, 1 / 3, 8, 2, 6), (2, 0.1, 8, 1, 4)],
)
def test_workers_per_node(cpus: int, gpus: float, node_cpus: int, node_gpus: int, n_trials: int) -> None:
    settings = [f"resources.cpus={cpus}", f"resources.gpus={gpus}"]
    cluster = described(settings=settings, cpus_per_node=node_cpus, gpus_per_node=node_gpus)
    assert cluster.workers_per_node == n_trials


def test_a_trial_may_span_nodes() -> None:
    settings = ["resources.cpus=3", "resources.workers=3"]
    assert described(settings=settings, cpus_per_node=8, max_nodes=3).trials_at_once == 2
    with pytest.raises(UserError, match="3 workers with 3 CPU"):
        described(settings=settings, cpus_per_node=4, max_nodes=2)


def test_nodes_have_a_gpu_where_trials_use_one() -> None:
    assert described().gpus_per_node == 0
    assert described(settings=["resources.gpus=0.5"]).gpus_per_node == 1


def test_a_name_is_one_for_kubernetes(tmp_path: Path) -> None:
    path = tmp_path / f"{'a_' * 31}b.yaml"
    path.write_text(STUDY)
    name = described(study=path).name
    assert len(name) <= 40
    assert name.startswith("cutmix-a-a-")
    assert name[-1] == "a"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "slrum"},
            "template 'slrum': unknown kind; did you mean 'slurm'? valid: aws, compose, kuberay, slurm",
        ),
        ({"study": "quikstart"}, "did you mean 'quickstart'"),
        (
            {"settings": ["resources.cpus=9"]},
            "no trial fits on a node: a trial uses 9 CPU and 0 GPU, each of 4 nodes has 8 CPU",
        ),
        (
            {"settings": ["resources.gpus=1"], "gpus_per_node": 0},
            "a trial uses 1 CPU and 1 GPU, each of 4 nodes has 8 CPU and 0 GPU",
        ),
        ({"kind": "aws", "storage": None}, "aws needs --storage, an S3 URL"),
        ({"kind": "aws", "storage": "/shared"}, "EC2 instances share no folder"),
        ({"kind": "aws", "storage": "gs://bucket/x"}, "access to S3 only"),
        ({"kind": "aws", "gpus_per_node": 3}, "has instance types with 0, 1, 4, 8 GPUs"),
        ({"kind": "aws", "cpus_per_node": 4}, "the instance type decides; c7i.4xlarge has 16"),
        ({"storage": "sweeps"}, "write an absolute path"),
        ({"storage": "/dev/shm"}, "write an absolute path"),
        ({"storage": "/my sweeps"}, "write an absolute path"),
        ({"storage": "s3://Bucket;x"}, "no URL of the form"),
        ({"kind": "slurm", "image": "a:1"}, "the template slurm has no container"),
        ({"image": "A b"}, "not the name of an image"),
        ({"kind": "compose", "gpus_per_node": 2, "max_nodes": 2}, "each worker would get the same GPUs"),
        (
            {"options": {"--data": "imagefolder:/a$(b)"}},
            r"--data 'imagefolder:/a\$\(b\)': a template cannot contain '\$'",
        ),
        ({"options": {"--set": ["a=1", "b='2'"]}}, "--set 'b='2'': a template cannot contain"),
    ],
)
def test_a_mistake_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        described(**values)


def test_a_study_file_that_needs_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(STUDY)
    path = tmp_path / "mine.yaml"
    path.write_text("extends: base.yaml\nquestion: Yours?\n")
    with pytest.raises(UserError, match=r"extends another file, 'base\.yaml'"):
        described(study=path)
    path.write_text("extends: quickstart\nquestion: Yours?\n")
    assert described(study=path).study_file == path


@pytest.mark.parametrize("kind", NODES)
def test_options_reach_the_command(kind: str) -> None:
    cluster = described(kind, options={"--scale": None, "--gpus": 0.5, "--set": ["a=[1, 2]", "b=3"], "--cpus": 2})
    command = cluster.command("run", "quickstart", "--or-resume")
    assert command.startswith(
        "cutmix-sweep run quickstart --gpus 0.5 --set 'a=[1, 2]' --set b=3 --cpus 2 --or-resume --out "
    )


def test_a_job_on_slurm_sees_the_folders_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cluster = described("slurm", options={"--data": "imagefolder:photos"})
    assert cluster.options == ("--data", f"imagefolder:{tmp_path}/photos")
    assert cluster.out == f"{tmp_path}/sweeps/quickstart"


class TestPins:
    def test_are_the_installed_versions_with_what_they_need(self) -> None:
        pins = {line.split("==")[0]: line.split("==")[1] for line in pinned_versions()}
        assert pins["ray"] == version("ray")
        assert {"numpy", "click", "triton", "opencv-python", "llvmlite"} <= set(pins)
        assert not {"cutmix-sweep", "pytest", "jupyterlab"} & set(pins)

    def test_are_lines_of_a_constraints_file_for_any_build_of_torch(self) -> None:
        for line in pinned_versions():
            (specifier,) = Requirement(line).specifier
            assert specifier.operator == "=="
            assert "+" not in specifier.version

    def test_extras_of_a_dependency_count(self) -> None:
        assert "aiohttp" in {line.split("==")[0] for line in pinned_versions()}  # ray[default]
        assert distribution("aiohttp")

    def test_a_package_that_is_not_installed(self) -> None:
        with pytest.raises(UserError, match="not installed here"):
            pinned_versions("not-there")
