"""Options and arguments of every verb, each in turn with odd values."""

from __future__ import annotations

import functools
import inspect
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from typer.models import OptionInfo

from tests.faults.inputs.base import Input, Supplies
from tests.faults.inputs.studies import SMALL
from tests.faults.inputs.values import NASTY

SKIPPED = frozenset({"help", "version", "download", "open_", "follow", "install_completion", "show_completion"})
"""Options without a value to try, or that open a browser, use the network or wait."""

_LONG = "x" * 300
_NUMBERS = ("-1", "0", "1", "1.5", "1e308", "-1e400", "nan", "inf", "9" * 400, "0x10", "1_0", "", " ", "many", "١٢")
_TEXTS = (
    "",
    " ",
    ",",
    ",,",
    "a,a",
    "x" * 5_000,
    ",".join("abcdefgh" * 400),
    "../../x",
    "[/x]",
    "[bold]",
    "=cmd()",
    "-",
)
_TEXTS += ("ünï ☃", "\x1b[2J", "a\nb", "off-0000", "off", "cutmix,off", "search", "val_nll", "os:system", "no.module:X")
_TEXTS += (
    "{",
    "[1",
    "{a: {mix: cutmix}}",
    "*a",
    "asha,x=1",
    "asha,grace_period_epochs=",
    "calibration",
    "all",
    "\udcff",
)
_TEXTS += ("a=1", "ood.n_images=0", "ood.n_images=999999999999", "calibration.x.y=1", "weights", "program", "digits:x")
_PATHS = ("", ".", "..", "/", "/proc/x", "/dev/null", "/dev/null/x", "/dev/full", _LONG, "x/" * 3_000, "s3://bucket/x")
_PATHS += (
    "file",
    "file/x",
    "loop",
    "loop/x",
    "dangling",
    "fifo",
    "ünï ☃",
    "a\nb",
    "\udcff",
    "~nobody",
    "-",
    "deep/" * 40,
)


@dataclass(frozen=True)
class Parameter:
    """An argument or option of a verb.

    Attributes:
        name: name in the code.
        option: as it is written, for example ``--out``; "" for an argument.
        types: types of its value.
        required: whether it has no default.
    """

    name: str
    option: str
    types: tuple[type, ...]
    required: bool


def odd_option(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a verb with one odd value, or two; options of all verbs take turns."""
    _write_files(folder, rng.choice(supplies.sweeps))
    verbs = parameters_of_verbs()
    choices = [(verb, parameter) for verb in verbs for parameter in verbs[verb] if parameter.name not in SKIPPED]
    verb, parameter = choices[number % len(choices)]
    odd = [parameter]
    if rng.random() < 0.3:
        odd.append(rng.choice([each for each in verbs[verb] if each.name not in SKIPPED]))
    arguments = [verb]
    for each in verbs[verb]:
        if each in odd:
            arguments += _odd(each, rng)
        elif not each.option:
            arguments += _right(each.name)
        elif each.name == "out" and verb == "run":
            arguments += ["--out", str(supplies.full)]
        elif each.required:
            arguments += [each.option, "1"]
    return Input(arguments, f"{verb} {' '.join(each.name for each in odd)}", may_write=True)


@functools.cache
def parameters_of_verbs() -> dict[str, list[Parameter]]:
    """Return the parameters of each verb of the program."""
    from sweep.cli import app

    verbs = {}
    for command in app.registered_commands:
        assert command.callback is not None
        parameters = inspect.signature(command.callback, eval_str=True).parameters.values()
        name = command.name or command.callback.__name__.replace("_", "-")
        verbs[name] = [_parameter(each) for each in parameters]
    return verbs


def _parameter(parameter: inspect.Parameter) -> Parameter:
    annotation, info = get_args(parameter.annotation)
    option = ""
    if isinstance(info, OptionInfo):
        option = next(iter(info.param_decls or ()), f"--{parameter.name.rstrip('_').replace('_', '-')}")
    types = tuple(kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type))
    return Parameter(parameter.name, option, types, parameter.default is parameter.empty)


def _right(argument: str) -> list[str]:
    """Return a right value of an argument."""
    values = {"sweep_dir": "sweep", "sweep_dirs": "sweep", "trial": "off-0000", "kind": "study"}
    return [{**values, "part": "trainables.mixing.masks.box:Box"}.get(argument, "small.yaml")]


def _odd(parameter: Parameter, rng: random.Random) -> list[str]:
    """Return an option or argument with an odd value."""
    if bool in parameter.types:
        return [parameter.option] * rng.choice((1, 1, 2))
    choices = _NUMBERS if {int, float} & {*parameter.types} else _PATHS if Path in parameter.types else _TEXTS + _PATHS
    value = rng.choice(choices)
    if rng.random() < 0.15:
        value = str(rng.choice(NASTY)).replace("\0", "")[:10_000]
    if not parameter.option:
        return [*rng.choice(([], ["--"])), value]
    return [parameter.option, value] * rng.choice((1, 1, 1, 2))


def _write_files(folder: Path, sweep: Path) -> None:
    """Write a study, a sweep, a file, links and a pipe."""
    (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
    shutil.copytree(sweep, folder / "sweep")
    (folder / "file").write_text("", encoding="utf-8")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nothing")
    os.mkfifo(folder / "fifo")
