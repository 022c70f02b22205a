"""Values that the shell completes: names of studies, presets, sources, trials, and paths of ``--set``.

A shell waits for these functions at every press of Tab. So none of them imports torch, Ray or pandas.
"""

from __future__ import annotations

import contextlib
import io
import os
import pkgutil
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import typer

import trainables

COMPLETE = "_CUTMIX_SWEEP_COMPLETE"
"""Environment variable with which a shell asks for completions instead of running a command."""

AXIS_NAMES = sorted(module.name for module in pkgutil.iter_modules([f"{trainables.__path__[0]}/evaluation/axes"]))
"""Names of the evaluation axes, from their files: importing an axis would load torch."""


def complete_study(incomplete: str) -> list[str]:
    """Return the built-in studies, study files and folders that begin with ``incomplete``.

    Examples:
        >>> complete_study("quick")
        ['quickstart']
    """
    from search_spaces.discover import built_in_studies

    return [*_starting(incomplete, built_in_studies()), *_study_files(incomplete)]


def complete_study_or_preset(incomplete: str) -> list[str]:
    """Return the studies, study files and presets that begin with ``incomplete``.

    Examples:
        >>> complete_study_or_preset("gridm")
        ['gridmix']
    """
    from trainables.mixing.presets import PRESETS

    return sorted({*complete_study(incomplete), *_starting(incomplete, PRESETS)})


def complete_source(incomplete: str) -> list[str]:
    """Return the data sources that begin with ``incomplete``; a colon follows where a path is needed.

    Examples:
        >>> complete_source("imagef")
        ['imagefolder:']
    """
    from trainables.data.sources.registry import SOURCES

    names = (f"{name}:" if source.needs_path else name for name, source in SOURCES.items())
    return _starting(incomplete, names)


def complete_scale(incomplete: str) -> list[str]:
    """Return the scales that begin with ``incomplete``.

    Examples:
        >>> complete_scale("s")
        ['smoke']
    """
    from search_spaces.scales import SCALES

    return _starting(incomplete, SCALES)


def complete_table(incomplete: str) -> list[str]:
    """Return the tables of the paper that begin with ``incomplete``.

    Examples:
        >>> complete_table("abl")
        ['ablation']
    """
    from search_spaces.table import tables

    return _starting(incomplete, tables())


def complete_axes(incomplete: str) -> list[str]:
    """Return comma-separated axes that begin with ``incomplete``.

    Examples:
        >>> complete_axes("ood,calib")
        ['ood,calibration']
    """
    return _last_of_list(incomplete, AXIS_NAMES)


def complete_axis_setting(incomplete: str) -> list[str]:
    """Return the axes that begin with ``incomplete``, each with the dot before a setting.

    Examples:
        >>> complete_axis_setting("oo")
        ['ood.']
    """
    return _starting(incomplete, (f"{name}." for name in AXIS_NAMES))


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds of documents that begin with ``incomplete``.

    Examples:
        >>> complete_kind("do")
        ['doctor']
    """
    from sweep.document_models import DOCUMENTS

    return _starting(incomplete, ("study", *DOCUMENTS))


def complete_states(incomplete: str) -> list[str]:
    """Return comma-separated statuses of trials that begin with ``incomplete``.

    Examples:
        >>> complete_states("failed,d")
        ['failed,diverged']
    """
    from sweep.records.schema import STATUSES

    return _last_of_list(incomplete, STATUSES)


def complete_trial(context: typer.Context, incomplete: str) -> list[str]:
    """Return the trials of the sweep in the command line that begin with ``incomplete``."""
    return _starting(incomplete, _recorded(context, "trial"))


def complete_trials(context: typer.Context, incomplete: str) -> list[str]:
    """Return comma-separated trials of the sweep in the command line that begin with ``incomplete``."""
    return _last_of_list(incomplete, ["search", *_recorded(context, "trial")])


def complete_arms(context: typer.Context, incomplete: str) -> list[str]:
    """Return comma-separated arms of the sweep in the command line that begin with ``incomplete``."""
    return _last_of_list(incomplete, _recorded(context, "arm"))


def complete_arm(context: typer.Context, incomplete: str) -> list[str]:
    """Return the arms of the sweep in the command line that begin with ``incomplete``."""
    return _starting(incomplete, _recorded(context, "arm"))


def complete_value(incomplete: str) -> list[str]:
    """Return the values of a running sweep that can be set and begin with ``incomplete``.

    Examples:
        >>> complete_value("max")
        ['max_trials=']
    """
    from search_spaces.budget import Limits
    from search_spaces.extension import LIMITS

    return _starting(incomplete, ["max_trials=", *(f"{LIMITS}.{name}=" for name in Limits.model_fields)])


def complete_setting(incomplete: str) -> list[str]:
    """Return the settings ``PATH=VALUE`` of a study that begin with ``incomplete``.

    A path is completed level by level. After its end the values follow, or the type of the value in capital letters.

    Examples:
        >>> complete_setting("base.model.name=resnet1")
        ['base.model.name=resnet18', 'base.model.name=resnet101', 'base.model.name=resnet152']
        >>> complete_setting("budget.tr")
        ['budget.trials=', 'budget.trials=INTEGER']
    """
    from search_spaces.schema import study_schema
    from trainables.networks import NETWORKS

    names = {"base.model.name": NETWORKS.names(), "base.data.source": complete_source("")}
    schema = study_schema()
    path, equals, _ = incomplete.partition("=")
    *parents, _ = path.split(".")
    nodes = _resolved(schema, schema["$defs"]["Study"])
    for parent in parents:
        nodes = _children(schema, nodes).get(parent, [])
    before = "".join(f"{parent}." for parent in parents)
    keys = {f"{before}{key}": node for key, node in _children(schema, nodes).items()}
    matching = [key for key in keys if key == path or (not equals and key.startswith(path))]
    if len(matching) > 1:
        return sorted(f"{key}{'.' if _children(schema, keys[key]) else '='}" for key in matching)
    found: list[str] = []
    for key in matching:  # the only one: what follows it
        found += [f"{key}={value}" for value in names.get(key) or _values(keys[key])]
        if not equals and _children(schema, keys[key]):
            found += complete_setting(f"{key}.")
    return _starting(incomplete, dict.fromkeys(found))


def join_words(environment: MutableMapping[str, str]) -> str:
    """Join the words of a command line that bash split at ``=``; return what bash keeps of the present word.

    Examples:
        >>> asked = {"COMP_WORDS": "cutmix-sweep\\nrun\\n--set\\nseed\\n=\\n1", "COMP_CWORD": "5"}
        >>> join_words(asked), asked
        ('seed=', {'COMP_WORDS': 'cutmix-sweep\\nrun\\n--set\\nseed=1', 'COMP_CWORD': '3'})
    """
    words = environment["COMP_WORDS"].split("\n")
    current = int(environment["COMP_CWORD"])
    joined: list[str] = []
    for index, word in enumerate(words[: current + 1]):
        follows = index > 1 and (word == "=" or words[index - 1] == "=")
        joined[-1:] = [joined[-1] + word] if follows else [*joined[-1:], word]
    environment["COMP_WORDS"] = "\n".join(joined)
    environment["COMP_CWORD"] = str(max(len(joined) - 1, current if current >= len(words) else 0))
    return joined[-1].rpartition("=")[0] + "=" if "=" in joined[-1] else ""


@contextlib.contextmanager
def completion_for_bash() -> Iterator[None]:
    """Complete the value after a ``=`` for bash, which splits words there; do nothing for other shells and commands."""
    if os.environ.get(COMPLETE) != "complete_bash":
        yield
        return
    kept = join_words(os.environ)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            yield
    finally:
        typer.echo("\n".join(line.removeprefix(kept) for line in output.getvalue().splitlines()))


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _last_of_list(incomplete: str, names: Iterable[str]) -> list[str]:
    """Complete the name after the last comma."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def _study_files(incomplete: str) -> list[str]:
    """Return the folders, each with a slash, and the study files that a path may continue with."""
    folder, slash, start = incomplete.rpartition("/")
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(Path(f"{folder}{slash}" or ".").iterdir()):
            if path.name.startswith(start) and not path.name.startswith("."):
                if path.is_dir():
                    found.append(f"{folder}{slash}{path.name}/")
                elif path.suffix in (".yaml", ".yml"):
                    found.append(f"{folder}{slash}{path.name}")
    return found


def _recorded(context: typer.Context, column: str) -> list[str]:
    """Return the distinct values of a column of the trials, without pandas; none if there is no sweep."""
    from sweep.records.names import is_name
    from sweep.records.schema import TRIALS
    from sweep.records.table_files import read_what_is_there

    # an option that still lacks its value leaves the argument unparsed
    sweep_dir = context.params.get("sweep_dir") or next(iter(context.args), "")
    names: list[str] = []
    with contextlib.suppress(OSError):
        for rows in read_what_is_there(Path(sweep_dir), TRIALS).rows:
            names += rows[column].to_pylist()
    return sorted(filter(is_name, set(names)))  # the shell runs what it completes


Node = dict[str, Any]


def _resolved(schema: Node, node: Any) -> list[Node]:
    """Return the alternatives of a node of a JSON Schema, with references resolved."""
    if not isinstance(node, dict):
        return []
    if reference := node.get("$ref"):
        return _resolved(schema, schema["$defs"][reference.rpartition("/")[2]])
    alternatives = [each for key in ("anyOf", "oneOf", "allOf") for each in node.get(key, [])]
    return [node, *(found for each in alternatives for found in _resolved(schema, each))]


def _children(schema: Node, nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """Return the alternatives of each key that some of the nodes have."""
    children: dict[str, list[Node]] = {}
    for node in nodes:
        for key, child in node.get("properties", {}).items():
            children[key] = [*children.get(key, []), *_resolved(schema, child)]
    return children


def _values(nodes: Iterable[Node]) -> list[str]:
    """Return the values of a key: the listed ones or, where any is valid, nothing and the type."""
    listed: list[str] = []
    types: list[str] = []
    for node in nodes:
        if "enum" in node or "const" in node:
            listed += map(str, node.get("enum", [node.get("const")]))
        elif node.get("type") == "boolean":
            listed += ["true", "false"]
        elif node.get("type") in ("integer", "number", "string", "array"):
            types.append(str(node["type"]).upper())
    # two candidates, so that bash does not end the word with a space
    return listed or (["", types[0]] if types else [])
