"""What a template is filled with: the study, its command, and the size of the cluster."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from search_spaces.discover import built_in_studies, load_study
from search_spaces.study import Study
from sweep.templates.pins import PACKAGE
from trainables.data.sources.registry import absolute_source, split_text
from trainables.errors import UserError, did_you_mean, shorten, shorten_path

NODES = {"kuberay": 4, "aws": 4, "slurm": 2, "compose": 1}
"""Kinds of templates, and the largest number of worker nodes if none is given."""

AWS_TYPES = {0: ("c7i.4xlarge", 16), 1: ("g6.2xlarge", 8), 4: ("g6.12xlarge", 48), 8: ("g6.48xlarge", 192)}
"""EC2 instance type and its number of vCPUs, by the number of GPUs."""

SHM_GB = 4
"""Size of /dev/shm. Ray's object store gets half of it: images are memory-mapped, so it holds small objects only."""

URL = re.compile(r"(s3|gs|abfs)://[a-z0-9][\w.@-]+(/[\w.=-]+)*/?")
_UNSAFE = re.compile(r"""['"`$\\\x00-\x1f\x7f]""")
_IMAGE = re.compile(r"[a-z0-9]+([._:/-]+\w[\w.-]*)*(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True)
class Cluster:
    """A cluster and the sweep that runs on it; all values are checked.

    Attributes:
        kind: a key of :data:`NODES`.
        study: the loaded study.
        study_file: file of a study that is not built in.
        options: options of ``cutmix-sweep run`` that define the trials.
        storage: folder or URL below which sweeps are written.
        image: container image, with a registry if the nodes pull it.
        gpus_per_node: GPUs of a worker node.
        cpus_per_node: CPU cores of a worker node.
        memory_gb: memory of a worker node in GiB.
        max_nodes: largest number of worker nodes.
    """

    kind: str
    study: Study
    study_file: Path | None
    options: tuple[str, ...]
    storage: str
    image: str
    gpus_per_node: int
    cpus_per_node: int
    memory_gb: int
    max_nodes: int

    @property
    def name(self) -> str:
        """Name for objects of a cluster, such as a job: small letters, digits and hyphens, at most 40 characters."""
        return f"cutmix-{self.study.name.replace('_', '-')}"[:40].rstrip("-")

    @property
    def workers_per_node(self) -> int:
        """Number of workers that one worker node runs at a time; most trials have one worker."""
        resources = self.study.resources
        by_cpus = self.cpus_per_node // resources.cpus
        if not resources.gpus:
            return by_cpus
        # a worker has at most one GPU, and no worker gets parts of two
        return min(by_cpus, self.gpus_per_node * resources.workers_per_gpu)

    @property
    def trials_at_once(self) -> int:
        """Number of trials that all nodes together run at a time; the workers of a trial may be on several nodes."""
        return self.workers_per_node * self.max_nodes // self.study.resources.workers

    @property
    def is_url(self) -> bool:
        """Whether the sweep is stored below a URL, not in a shared folder."""
        return "://" in self.storage

    @property
    def out(self) -> str:
        """Folder or URL of the sweep."""
        return f"{self.storage.rstrip('/')}/{self.study.name}"

    def command(self, verb: str, study: str, *options: str) -> str:
        """Return a command of this program for a shell, with the options that define the trials, and ``--out``."""
        return shlex.join(["cutmix-sweep", verb, study, *self.options, *options, "--out", self.out])


def describe_cluster(
    kind: str,
    study: str,
    *,
    options: Mapping[str, object],
    settings: Sequence[str] = (),
    scale: str | None = None,
    storage: str | None = None,
    image: str | None = None,
    gpus_per_node: int | None = None,
    cpus_per_node: int | None = None,
    memory_gb: int = 32,
    max_nodes: int | None = None,
) -> Cluster:
    """Return the cluster that the options of ``cluster-template`` describe.

    Args:
        kind: a key of :data:`NODES`.
        study: name of a built-in study, or path of a YAML file.
        options: options of ``cutmix-sweep run`` by flag; None, and an empty list, are left out.
        settings: all values that override the study, each ``path=value``.
        scale: name of the scale; None: as in the study.
        storage: folder or URL below which sweeps are written; None: a default for each kind.
        image: container image; None: ``cutmix-sweep`` with the version of this program.
        gpus_per_node: GPUs of a worker node; None: 1 if trials use GPUs, otherwise 0.
        cpus_per_node: CPU cores of a worker node; None: 8, or as the EC2 instance type has.
        memory_gb: memory of a worker node in GiB.
        max_nodes: largest number of worker nodes; None: :data:`NODES`.

    Raises:
        UserError: an unknown kind or study, a value that the kind does not have, or a node on which no trial fits.
    """
    if kind not in NODES:
        raise UserError(f"template '{shorten(kind)}': unknown kind{did_you_mean(kind, NODES)}")
    loaded = load_study(study, scale=scale, settings=settings)
    flags = tuple(
        text
        for flag, values in {**options, "--data": _data(kind, options.get("--data"))}.items()
        for value in (values if isinstance(values, list) else [values])
        if value is not None
        for text in (flag, _plain(value, flag))
    )
    n_gpus = int(loaded.resources.gpus > 0) if gpus_per_node is None else gpus_per_node
    cluster = Cluster(
        kind=kind,
        study=loaded,
        study_file=_study_file(study),
        options=flags,
        storage=_storage(kind, storage),
        image=_image(kind, image),
        gpus_per_node=n_gpus,
        cpus_per_node=_cpus(kind, cpus_per_node, n_gpus),
        memory_gb=memory_gb,
        max_nodes=NODES[kind] if max_nodes is None else max_nodes,
    )
    _check_fits(cluster)
    return cluster


def template_values(cluster: Cluster, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of all placeholders by name.

    Args:
        cluster: the cluster.
        versions: versions of ``ray``, ``cutmix-sweep`` and ``python``.
    """
    file = cluster.study_file
    study = cluster.study.name if file is None else str(file.absolute())
    in_pod = cluster.study.name if file is None else f"/study/{file.name}"
    growing = ("--max-trials", str(cluster.trials_at_once))
    resources = cluster.study.resources
    return {
        "cluster": cluster,
        "name": cluster.name,
        "study_file": None if file is None else file.name,
        "versions": versions,
        "environment": sys.prefix,
        "shm_gb": SHM_GB,
        "object_store_bytes": SHM_GB * 2**30 // 2,
        "instance_type": AWS_TYPES.get(cluster.gpus_per_node, ("", 0))[0],
        "bucket": cluster.storage.split("/")[2] if cluster.is_url else "",
        "folder": cluster.storage.partition("://")[2].partition("/")[2].rstrip("/"),
        "uses_gpu": bool(resources.gpus),
        "run_in_pod": cluster.command("run", in_pod, "--address", "auto", "--or-resume", *growing),
        "run_in_job": cluster.command("run", study, "--or-resume"),
        "submit": cluster.command("submit", study, "--address", "http://127.0.0.1:8265"),
        "submit_growing": cluster.command("submit", study, "--address", "http://127.0.0.1:8265", *growing),
        "status": f"cutmix-sweep status {shlex.quote(cluster.out)}",
    }


def _data(kind: str, data: object) -> str | None:
    """Return the data source of the option ``--data``, whose path is one on the nodes."""
    if data is None:
        return None
    if kind == "slurm":
        return absolute_source(str(data))
    name, colon, path = split_text(str(data))
    if colon and not path.startswith("/"):
        raise UserError(
            f"--data '{shorten(str(data))}': write the path that the images have on the nodes, for example "
            f"{name}:/shared/{shorten(path)}"
        )
    return str(data)


def _plain(value: object, flag: str) -> str:
    """Return the text of an option; a shell or YAML on the way to a cluster changes none of its characters."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    found = _UNSAFE.search(text)
    if found:
        raise UserError(
            f"{flag} '{shorten(text)}': a template cannot contain {found[0]!r} in a value, because shells on the way "
            "to the cluster would change it: leave the option out, and write the value into the study file"
        )
    return text


def _study_file(study: str) -> Path | None:
    """Return the file of a study that is not built in; it is copied alone."""
    if study in built_in_studies():
        return None
    import yaml

    path = Path(study).expanduser()
    extended = yaml.safe_load(path.read_text(encoding="utf-8")).get("extends")
    if extended is not None and extended not in built_in_studies():
        raise UserError(
            f"study '{shorten_path(path)}' extends another file, '{shorten(str(extended))}', and a template has one "
            "study file: write the values of both into one file"
        )
    if not re.fullmatch(r"[\w.-]+", path.name):
        raise UserError(
            f"study '{shorten_path(path)}': rename the file; a template needs a name of letters, digits, '.', '_', '-'"
        )
    return path


def _storage(kind: str, storage: str | None) -> str:
    if storage is None:
        if kind == "aws":
            raise UserError(
                "aws needs --storage, an S3 URL that all nodes can reach, for example --storage s3://my-bucket/sweeps; "
                "prepare.sh of the template makes the bucket if it is missing"
            )
        return str(Path("sweeps").absolute()) if kind == "slurm" else "/shared"
    if "://" in storage:
        if not URL.fullmatch(storage):
            raise UserError(f"--storage '{shorten(storage)}': no URL of the form s3://BUCKET/FOLDER, gs:// or abfs://")
        if kind == "aws" and not storage.startswith("s3://"):
            raise UserError(f"--storage '{shorten(storage)}': the template aws gives its nodes access to S3 only")
        return storage.rstrip("/")
    if kind == "aws":
        raise UserError(f"--storage '{shorten(storage)}': EC2 instances share no folder; use s3://BUCKET/FOLDER")
    if not re.fullmatch(r"/[\w./-]+", storage) or storage.rstrip("/") in ("", "/dev/shm", "/tmp", "/study", "/cache"):
        raise UserError(
            f"--storage '{shorten(storage)}': write an absolute path of letters, digits, '.', '_', '-' that all nodes "
            "see, for example /shared/sweeps, or a URL such as s3://my-bucket/sweeps"
        )
    return storage.rstrip("/")


def _image(kind: str, image: str | None) -> str:
    if image is None:
        return f"{PACKAGE}:{version(PACKAGE)}"
    if kind in ("slurm", "aws"):
        raise UserError(f"--image: the template {kind} has no container; leave the option out")
    if not _IMAGE.fullmatch(image):
        raise UserError(
            f"--image '{shorten(image)}': not the name of an image, for example registry.example.org/me/cutmix-sweep:1"
        )
    return image


def _cpus(kind: str, cpus_per_node: int | None, gpus_per_node: int) -> int:
    if kind != "aws":
        return 8 if cpus_per_node is None else cpus_per_node
    if gpus_per_node not in AWS_TYPES:
        numbers = ", ".join(map(str, AWS_TYPES))
        raise UserError(f"--gpus-per-node {gpus_per_node}: the template aws has instance types with {numbers} GPUs")
    name, n_cpus = AWS_TYPES[gpus_per_node]
    if cpus_per_node is not None:
        raise UserError(f"--cpus-per-node: on aws the instance type decides; {name} has {n_cpus}: leave the option out")
    return n_cpus


def _check_fits(cluster: Cluster) -> None:
    resources = cluster.study.resources
    if not cluster.trials_at_once:
        raise UserError(
            f"no trial fits on {'a node' if resources.workers == 1 else 'the nodes'}: a trial uses "
            f"{resources.describe()}, each of {cluster.max_nodes} nodes has {cluster.cpus_per_node} CPU and "
            f"{cluster.gpus_per_node} GPU; change --cpus, --gpus or --workers, or --cpus-per-node, --gpus-per-node or "
            "--max-nodes"
        )
    if cluster.kind == "compose" and cluster.gpus_per_node and cluster.max_nodes > 1:
        raise UserError(
            "compose runs all workers on one machine, and each worker would get the same GPUs: use --max-nodes 1, or "
            "--gpus-per-node 0"
        )
