"""Templates as texts: filling them, and writing them to a folder that they do not share with edited files."""

from __future__ import annotations

import platform
import shlex
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sweep.output_folder import write_files
from sweep.templates.cluster import Cluster, template_values
from sweep.templates.pins import PACKAGE, node_extras, pinned_versions, plain_version

TEMPLATES_DIR = Path(__file__).parent
ENDING = ".j2"

MAIN_FILES = {"kuberay": "rayjob.yaml", "aws": "cluster.yaml", "slurm": "sweep.sbatch", "compose": "compose.yaml"}
"""The file of each kind that starts the cluster."""

_FOLDERS = {
    "kuberay": ("kuberay", "container"),
    "aws": ("aws",),
    "slurm": ("slurm",),
    "compose": ("compose", "container"),
}
_WITH_VERSIONS = ("kuberay", "aws", "compose")
_COPIES_STUDY = ("kuberay",)


def render_template(cluster: Cluster) -> dict[str, str]:
    """Return the text of each file of a template by its name, the main file first.

    Examples:
        >>> from sweep.templates.cluster import describe_cluster
        >>> files = render_template(describe_cluster("compose", "quickstart", options={}, gpus_per_node=0))
        >>> list(files)
        ['compose.yaml', 'README.md', '.dockerignore', 'Dockerfile', 'versions.txt']
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR, encoding="utf-8"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # shell and YAML, no HTML
    )
    environment.filters["quote"] = shlex.quote
    versions = {
        "ray": version("ray"),
        "python": plain_version(platform.python_version()),
        PACKAGE: version(PACKAGE),
    }
    values = template_values(cluster, versions) | {"extras": ",".join(node_extras())}
    texts = {
        path.name.removesuffix(ENDING): environment.get_template(f"{folder}/{path.name}").render(values)
        for folder in _FOLDERS[cluster.kind]
        for path in sorted((TEMPLATES_DIR / folder).glob(f"*{ENDING}"))
    }
    files = {name: text for name, text in texts.items() if text.strip()}  # a claim for a volume has no use with a URL
    if cluster.kind in _WITH_VERSIONS:
        files["versions.txt"] = "\n".join(pinned_versions()) + "\n"
    if cluster.kind in _COPIES_STUDY and cluster.study_file is not None:
        files[cluster.study_file.name] = cluster.study_file.read_text(encoding="utf-8")
    main = MAIN_FILES[cluster.kind]
    return {main: files.pop(main), **files}


def write_template(cluster: Cluster, folder: Path) -> list[Path]:
    """Write all files of a template into a folder; return their paths, the main file first.

    A file that is there already with the same content stays. People edit these files, so no other file is replaced.

    Raises:
        UserError: a file of the folder has another content, or cannot be written; nothing was written then.
    """
    paths = write_files(
        {folder / name: text for name, text in render_template(cluster).items()}, below=folder, option="--out"
    )
    for path in paths:
        if path.suffix == ".sh":
            path.chmod(path.stat().st_mode | 0o100)
    return paths
