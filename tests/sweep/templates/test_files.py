"""The files of each template: valid for the programs that read them, closed to others, and never replaced."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from ray.autoscaler._private.util import fillout_defaults, validate_config

from sweep import cli
from sweep.templates.cluster import NODES, Cluster, describe_cluster
from sweep.templates.pins import pinned_versions
from sweep.templates.render import MAIN_FILES, render_template, write_template
from trainables.errors import UserError

HERE = Path(__file__).parent
MINE = "question: Mine?\narms: {off: {mix: off}}\nsearch: grid\nbudget: {max_epochs: 7, early_stopping: {rule: none}}\n"
URL = "s3://my-bucket/sweeps"


AWS = """\
#!/usr/bin/env bash
echo "$*" | tr '\\n' ' ' >> "$CALLS"
echo >> "$CALLS"
case "$*" in
    *put-role-policy*) printf '%s\\0' "${@: -1}" >> "$CALLS.policies" ;;
    *describe-security-groups*) echo None ;;
    *create-security-group*) echo sg-1 ;;
    *get-parameter*) echo ami-1 ;;
    *) echo 123456789012 ;;
esac
"""
"""A pretended ``aws``: all objects are missing."""


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cluster]:
    """One cluster per kind and per place of the sweep; those with a shared folder have a study file and GPUs."""
    mine = tmp_path_factory.mktemp("study") / "mine.yaml"
    mine.write_text(MINE)
    halves = {"options": {"--gpus": 0.5, "--set": ["budget.trials=1"]}, "settings": ["resources.gpus=0.5"]}
    on_url = {f"{kind} {URL}": describe_cluster(kind, "quickstart", options={}, storage=URL) for kind in NODES}
    shared = ("kuberay", "slurm", "compose")
    return on_url | {kind: describe_cluster(kind, str(mine), **halves) for kind in shared}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def files(clusters: dict[str, Cluster]) -> dict[str, dict[str, str]]:
    pins = pinned_versions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep.templates.render.pinned_versions", lambda: pins)  # 0.3 s for each
        return {name: render_template(cluster) for name, cluster in clusters.items()}


def of_kind(files: dict[str, dict[str, str]], kind: str) -> list[dict[str, str]]:
    found = [texts for name, texts in files.items() if name.split()[0] == kind]
    assert found
    return found


def program(name: str) -> str:
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert path, f"{name} is missing: pip install '.[dev]'"
    return path


def checked(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class TestKubeRay:
    @pytest.fixture(params=[0, 1])
    def documents(self, files: dict[str, dict[str, str]], request: pytest.FixtureRequest) -> list[Any]:
        return list(yaml.safe_load_all(of_kind(files, "kuberay")[request.param]["rayjob.yaml"]))

    def test_the_job_fits_the_operator_s_schema(self, documents: list[Any]) -> None:
        _, job = documents
        jsonschema.validate(job, json.loads((HERE / "rayjob.schema.json").read_text()))

    def test_pods_are_not_root_and_closed_to_others(self, documents: list[Any]) -> None:
        policy, job = documents
        cluster = job["spec"]["rayClusterSpec"]
        assert cluster["authOptions"] == {"mode": "token"}
        labels = policy["spec"]["podSelector"]["matchLabels"]
        pods = [job["spec"]["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
        pods += [group["template"] for group in cluster["workerGroupSpecs"]]
        for pod in pods:
            assert pod["metadata"]["labels"] == labels
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            for container in pod["spec"]["containers"]:
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert container["securityContext"]["allowPrivilegeEscalation"] is False

    def test_grows_from_zero_and_has_time_to_end(self, documents: list[Any]) -> None:
        cluster = documents[1]["spec"]["rayClusterSpec"]
        (workers,) = cluster["workerGroupSpecs"]
        assert (workers["minReplicas"], workers["replicas"], workers["maxReplicas"]) == (0, 0, 4)
        assert cluster["enableInTreeAutoscaling"]
        for group in (cluster["headGroupSpec"], workers):
            spec = group["template"]["spec"]
            assert spec["terminationGracePeriodSeconds"] >= 60
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
            mounted = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
            assert mounted == set(volumes)

    def test_a_shared_folder_has_a_claim_and_a_url_has_keys(self, files: dict[str, dict[str, str]]) -> None:
        on_url, shared = of_kind(files, "kuberay")
        assert "claim.yaml" in shared
        assert yaml.safe_load(shared["claim.yaml"])["spec"]["accessModes"] == ["ReadWriteMany"]
        assert "claim.yaml" not in on_url
        assert "secretRef: {name: cutmix-quickstart-storage}" in on_url["rayjob.yaml"]
        assert "mine.yaml" in shared


class TestCompose:
    @pytest.fixture(params=[0, 1])
    def config(self, files: dict[str, dict[str, str]], request: pytest.FixtureRequest) -> Any:
        return yaml.safe_load(of_kind(files, "compose")[request.param]["compose.yaml"])

    def test_fits_the_compose_specification(self, config: Any) -> None:
        del config["x-node"]
        jsonschema.validate(config, json.loads((HERE / "compose.schema.json").read_text()))

    def test_only_the_dashboard_is_open_and_to_this_machine_alone(self, config: Any) -> None:
        ports = [port for service in config["services"].values() for port in service.get("ports", [])]
        assert ports == ["127.0.0.1:8265:8265"]

    def test_containers_have_the_token_little_rights_and_time(self, config: Any) -> None:
        for service in config["services"].values():
            assert service["secrets"] == ["auth_token"]
            assert service["environment"]["RAY_AUTH_MODE"] == "token"
            assert service["user"].startswith("${SWEEP_UID:?")
            assert service["cap_drop"] == ["ALL"]
            assert int(service["stop_grace_period"].removesuffix("s")) >= 60
            assert "--block" in service["command"]
            assert service["shm_size"] == "4gb"


class TestAws:
    @pytest.fixture
    def config(self, files: dict[str, dict[str, str]]) -> Any:
        (texts,) = of_kind(files, "aws")
        return yaml.safe_load(texts["cluster.yaml"])

    def test_fits_ray_s_own_schema(self, config: Any) -> None:
        validate_config(fillout_defaults(config))

    def test_uses_its_own_security_group(self, config: Any) -> None:
        """Ray opens ssh to all addresses in each group that it makes."""
        assert "security_group" not in config["provider"]
        for node_type in config["available_node_types"].values():
            assert node_type["node_config"]["SecurityGroupIds"] == ["SECURITY_GROUP_ID"]
            assert node_type["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}

    def test_grows_from_zero(self, config: Any) -> None:
        worker = config["available_node_types"]["worker"]
        assert (worker["min_workers"], worker["max_workers"]) == (0, 4)
        assert worker["resources"] == {"CPU": 16}

    def test_ray_is_drained_before_it_is_killed(self, config: Any) -> None:
        for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
            assert {"--property=KillMode=mixed", "--property=TimeoutStopSec=90", "--block"} <= set(commands[-1].split())
        assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]

    def test_the_script_fills_in_what_is_left_open(self, clusters: dict[str, Cluster], tmp_path: Path) -> None:
        write_template(clusters[f"aws {URL}"], tmp_path)
        command = tmp_path / "aws"
        command.write_text(AWS)
        command.chmod(0o700)
        calls = tmp_path / "calls"
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AWS_REGION": "eu-west-1", "CALLS": str(calls)}
        script = [str(tmp_path / "prepare.sh"), "203.0.113.4/32"]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
        config = yaml.safe_load((tmp_path / "cluster.yaml").read_text())
        assert config["provider"]["region"] == "eu-west-1"
        for node_type in config["available_node_types"].values():
            node = node_type["node_config"]
            assert (node["ImageId"], node["SecurityGroupIds"]) == ("ami-1", ["sg-1"])
        token = tmp_path / "secret" / "auth_token"
        assert [oct(path.stat().st_mode & 0o777) for path in (token, token.parent)] == ["0o600", "0o700"]
        assert token.read_text() not in done.stdout + done.stderr + calls.read_text()
        ingress = [line for line in calls.read_text().splitlines() if "authorize-security-group-ingress" in line]
        assert [line.split("--group-id sg-1 ")[1].strip() for line in ingress] == [
            "--protocol=-1 --source-group sg-1",
            "--protocol tcp --port 22 --cidr 203.0.113.4/32",
        ]
        policies = [json.loads(text) for text in (tmp_path / "calls.policies").read_text().split("\0")[:-1]]
        workers, head = ([rule["Resource"] for rule in policy["Statement"]] for policy in policies)
        assert workers == ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/*"]
        assert "arn:aws:iam::123456789012:role/cutmix-quickstart-worker" in head


class TestContainer:
    def test_hadolint(self, files: dict[str, dict[str, str]], tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(of_kind(files, "compose")[0]["Dockerfile"])
        checked(program("hadolint"), str(tmp_path / "Dockerfile"))

    def test_is_pinned_not_root_and_takes_no_secret_in(self, files: dict[str, dict[str, str]]) -> None:
        texts = of_kind(files, "compose")[0]
        assert re.search(r"^ARG PYTHON_VERSION=3\.\d+\.\d+$", texts["Dockerfile"], flags=re.MULTILINE)
        assert re.findall(r"^USER (.*)$", texts["Dockerfile"], flags=re.MULTILINE) == ["1000:1000"]
        kept = [line for line in texts[".dockerignore"].splitlines() if not line.startswith("#")]
        assert kept == ["*", "!versions.txt", "!cutmix_sweep-*.whl"]
        assert "--constraint /tmp/install/versions.txt" in texts["Dockerfile"]

    def test_is_the_same_for_kubernetes_and_compose(self, files: dict[str, dict[str, str]]) -> None:
        assert of_kind(files, "compose")[0]["Dockerfile"] == of_kind(files, "kuberay")[0]["Dockerfile"]


def test_shell_scripts_pass_shellcheck(files: dict[str, dict[str, str]], tmp_path: Path) -> None:
    scripts = []
    for number, texts in enumerate(files.values()):
        for name in {"sweep.sbatch", "prepare.sh"} & set(texts):
            scripts.append(tmp_path / f"{number}-{name}")
            scripts[-1].write_text(texts[name])
    assert len(scripts) == 3
    checked(program("shellcheck"), *map(str, scripts))


def test_the_program_takes_all_commands(files: dict[str, dict[str, str]]) -> None:
    group = typer.main.get_command(cli.app)
    lines = set()
    for texts in files.values():
        for name in {"rayjob.yaml", "sweep.sbatch", "README.md"} & set(texts):
            lines |= set(re.findall(r"cutmix-sweep (?:run|submit|status) [^\n`]+", texts[name]))
    assert len(lines) >= 10
    for line in lines:
        _, verb, *words = shlex.split(line.rstrip('"').removesuffix("&").replace("$address", "head"))
        group.commands[verb].make_context(verb, words)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", MAIN_FILES)
def test_no_file_has_an_open_placeholder(files: dict[str, dict[str, str]], kind: str) -> None:
    for texts in of_kind(files, kind):
        assert next(iter(texts)) == MAIN_FILES[kind]
        assert not [name for name, text in texts.items() if "{%" in text or "{{" in text]
        assert not [name for name, text in texts.items() if not text.endswith("\n")]


class TestWriting:
    def test_writes_every_file_once(self, clusters: dict[str, Cluster], tmp_path: Path) -> None:
        cluster = clusters[f"aws {URL}"]
        folder = tmp_path / "new" / "cluster"
        paths = write_template(cluster, folder)
        assert {path.name: path.read_text() for path in paths} == render_template(cluster)
        assert (folder / "prepare.sh").stat().st_mode & 0o100
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        write_template(cluster, folder)
        assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    @pytest.mark.parametrize("way", ["edited", "link", "folder"])
    def test_replaces_nothing(self, clusters: dict[str, Cluster], tmp_path: Path, way: str) -> None:
        path = tmp_path / "README.md"
        if way == "edited":
            path.write_text("my notes")
        elif way == "link":
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.mkdir()
        with pytest.raises(UserError, match=r"README\.md' exists with another content, and no file is replaced"):
            write_template(clusters["slurm"], tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == ["README.md"]

    def test_a_file_in_place_of_the_folder(self, clusters: dict[str, Cluster], tmp_path: Path) -> None:
        (tmp_path / "cluster").write_text("")
        with pytest.raises(UserError, match="is not a folder"):
            write_template(clusters["slurm"], tmp_path / "cluster")
