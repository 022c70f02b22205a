"""Study files: built-in studies with something wrong, files that are no study, and settings of the command line."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from search_spaces.discover import STUDIES_DIR
from search_spaces.study import DEFAULTS
from search_spaces.yaml_text import parse_yaml
from tests.faults.inputs.base import ACCEPTED, REFUSED, Input, Supplies
from tests.faults.inputs.values import NASTY, VARIANTS, mutate
from trainables.merging import flattened

GOOD = {path.stem: path.read_text(encoding="utf-8") for path in sorted(STUDIES_DIR.glob("*.yaml"))}
"""Text of each built-in study by name."""

SMALL = "question: q\narms: {off: {mix: off}, cutmix: {mix: cutmix}}\nbudget: {trials: 4, max_epochs: 2}\n"
SMALL += "base: {data: {train_frac: 0.1, batch_size: 32}, model: {name: tiny, width: 0.25}}\n"
"""A study that is right, and quick to plan."""

_ARMS = "{off: {mix: off}, cutmix: {mix: cutmix}}"
_LONG = "a" * 300
_BOMB = f"a: &a [{','.join(['lol'] * 9)}]\n"
_BOMB += "".join(f"{key}: &{key} [{','.join([f'*{before}'] * 9)}]\n" for before, key in pairwise("abcdefghi"))
_GRID = "".join(
    f"  optimizer.{name}: {{kind: uniform, lo: 0.01, hi: 0.5, points: 2000}}\n"
    for name in ("lr", "momentum", "weight_decay")
)


def mutated_study(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a command on a study with one to three things wrong."""
    name = rng.choice([*GOOD, "small", "small"])
    study = parse_yaml(GOOD.get(name, SMALL))
    study.setdefault("name", name)
    mutate(study, rng, rng.choice((1, 1, 1, 2, 3)))
    path = folder / "mine.yaml"
    path.write_bytes(yaml.safe_dump(study, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass"))
    return Input(_command(str(path), rng, supplies), f"{name} with changes")


def _command(study: str, rng: random.Random, supplies: Supplies) -> list[str]:
    """Return a command that reads a study; ``run`` is refused after it was read, because its folder is not empty."""
    scale = rng.choice(([], [], ["--scale", rng.choice(("smoke", "laptop", "gpu", "paper"))]))
    match rng.randrange(10):
        case 0:
            return ["studies", study]
        case 1:
            return ["preview", study, "--out", "mixed.png", *scale]
        case 2:
            return ["plan", study, "--scale", "smoke", "--data", "digits"]
        case 3:
            return ["plan", study, "--json", *scale]
        case _:
            return ["run", study, "--out", str(supplies.full), *scale]


def other_file(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a command on a file that is no study, or a study that would cost much."""
    path = folder / "mine.yaml"
    files = _files(supplies)
    if number < len(files):
        label, (content, wanted) = list(files.items())[number]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        verb = ["plan", str(path), "--json"] if wanted == ACCEPTED else ["run", str(path), "--out", str(supplies.full)]
        return Input(verb, label, wanted)
    text = bytearray(rng.choice([*GOOD.values(), SMALL]).encode())
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(len(text))
        piece = rng.choice(
            (b"\0", b"\xff\xfe", b": ", b"- ", b"[", b"}", b"&a ", b"*a", b"!!x ", b"\t", b"%", b"\n\n", b"|")
        )
        text[place : place + rng.randrange(3)] = rng.choice((piece, rng.randbytes(4), text[place : place + 200]))
    path.write_bytes(text)
    return Input(_command(str(path), rng, supplies), "text with damaged bytes")


def _files(supplies: Supplies) -> dict[str, tuple[str | bytes, str]]:
    """Return content and wanted outcome of files by label; one would make a file if it were obeyed."""
    good, arms, trap = GOOD["quickstart"], _ARMS, supplies.trap
    choices = f"space: {{optimizer.lr: {{kind: choice, values: [{','.join(['0.1'] * 50_000)}]}}}}\n"
    merged = SMALL.replace(arms, "{off: &c {mix: off}, cutmix: {<<: *c, mix: cutmix}}")
    refused: dict[str, str | bytes] = {
        "unclosed": f"{good}\nx: {{a: [1",
        "undefined alias": f"{good}\nx: *y",
        "key twice": f"{good}\nquestion: q",
        "alias of itself": f"{good}\nx: &a [*a]",
        "NUL": f"{good}\nx: \0",
        "empty": "",
        "comment only": "# nothing\n",
        "scalar": "5",
        "list": "- a\n",
        "two documents": f"{good}\n---\n{good}",
        "UTF-16": good.encode("utf-16"),
        "Latin-1": "question: Größe".encode("latin-1"),
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "noise": random.Random(0).randbytes(4_000),
        "code": f'{good}\nseed: !!python/object/apply:os.system ["touch {trap}"]\n',
        "code of a name": f"{good}\nseed: !!python/name:os.system\n",
        "binary": f"{good}\nseed: !!binary aGk=\n",
        "deep list": f"question: {'[' * 3_000}{']' * 3_000}\n",
        "deep mapping": "{a: " * 3_000 + "1" + "}" * 3_000,
        "deep blocks": "\n".join(" " * depth + "a:" for depth in range(1_500)),
        "long integer": SMALL.replace("trials: 4", f"trials: {'9' * 6_000}"),
        "long float": SMALL.replace("trials: 4", f"trials: {'9' * 6_000}.5"),
        "many aliases": f"{_BOMB}question: *i\n",
        "many merges": "a: &a {x: 1}\n" + "".join(f"k{n}: {{<<: [{','.join(['*a'] * 99)}]}}\n" for n in range(999)),
        "many keys": SMALL + "".join(f"k{number}: 1\n" for number in range(4_000)),
        "many choices": SMALL + choices,
        "many arms": SMALL.replace(arms, "{" + ",".join(f"a{number}: {{}}" for number in range(5_000)) + "}"),
        "large file": SMALL + "# " + "x" * 5_000_000,
        "wide grid": f"{SMALL.replace('trials: 4, ', '')}search: grid\nspace:\n{_GRID}",
        "base 60": SMALL.replace("trials: 4", "trials: 1:30"),
        "octal": SMALL.replace("trials: 4", "trials: 010"),
        "hexadecimal": SMALL.replace("trials: 4", "trials: 0x10"),
        "underscore": SMALL.replace("trials: 4", "trials: 1_0"),
        "too many trials": SMALL.replace("trials: 4", "trials: 100000000000"),
        "too many epochs": SMALL.replace("max_epochs: 2", "max_epochs: 1000000000000"),
        "too many seeds": f"{SMALL}confirm: {{seeds: 100000000}}\n",
        "too many searches": f"{SMALL}confirm: {{searches: 100000000}}\n",
        "too many replicates": f"{SMALL}replicates: 100000000\n",
        "too many points": f"{SMALL}space: {{optimizer.lr: {{kind: uniform, lo: 0, hi: 1, points: 999999999}}}}\n",
        "too large integers": f"{SMALL}search: grid\nspace: {{data.pad_px: {{kind: integers, lo: 0, hi: {2**62}}}}}\n",
        "too large images": SMALL.replace("batch_size: 32", "batch_size: 32, image_size_px: 100000"),
        "too large batches": SMALL.replace("batch_size: 32", "batch_size: 2000000000"),
        "too large padding": SMALL.replace("batch_size: 32", "batch_size: 32, pad_px: 1000000"),
        "too wide network": SMALL.replace("width: 0.25", "width: 1.0e6"),
        "learning rate": SMALL.replace("width: 0.25}", "width: 0.25}, optimizer: {lr: 1.0e308}"),
        "long name of an arm": SMALL.replace("cutmix: {", f"{_LONG}: {{"),
        "long name": f"{SMALL}name: {_LONG}\n",
        "markup in a name": f"{SMALL}name: 'a[/x]b'\n",
        "path as name": f"{SMALL}name: ../../x\n",
        "long source": SMALL.replace("train_frac", f"source: 'imagefolder:{'x' * 5_000}', train_frac"),
        "W&B": "method: bayes\nmetric: {name: loss, goal: minimize}\nparameters: {lr: {min: 0.1, max: 1}}\n",
        "Hydra": "defaults: [{optimizer: adam}]\nhydra: {sweeper: {params: {lr: 'range(1, 8)'}}}\n",
        "Ray Tune": "tune_config: {num_samples: 4}\nparam_space: {lr: 0.1}\n",
        "RLlib": "cartpole: {run: PPO, env: CartPole-v1, stop: {training_iteration: 3}}\n",
        "Optuna": "direction: minimize\nsampler: tpe\nn_trials: 100\n",
        "NNI": "searchSpace: {lr: {_type: uniform, _value: [0, 1]}}\ntrialCommand: python x.py\n",
        "Katib": "apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nspec: {}\n",
        "own code that is not there": SMALL.replace("{mix: cutmix}", "{mix: {mask: {family: 'no_module:Mask'}}}"),
        "own code of Python": SMALL.replace("{mix: cutmix}", "{mix: {mask: {family: 'os:system'}}}"),
        "extends itself": f"extends: ./mine.yaml\n{SMALL}",
        "extends a folder": "extends: ./\nquestion: q\n",
        "extends a device": "extends: /dev/zero.yaml\nquestion: q\n",
        "scale of scales": f"{SMALL}scales: {{smoke: {{scales: {{}}}}}}\n",
        "long scale": f"{SMALL}scales: {'x' * 5_000}\n",
        "many scales": f"{SMALL}scales: [{','.join(['1'] * 5_000)}]\n",
    }
    accepted = {"merge keys": merged, "byte order mark": f"\ufeff{SMALL}", "CRLF": SMALL.replace("\n", "\r\n")}
    accepted |= {
        "letters beyond ASCII": SMALL.replace("question: q", "question: Größe ☃?"),
        "JSON": json.dumps(parse_yaml(SMALL)),
    }
    wanted = {label: (content, REFUSED) for label, content in refused.items()}
    return {**wanted, **{label: (content, ACCEPTED) for label, content in accepted.items()}}


_PATHS = [*flattened({"base": DEFAULTS}), *(f"arms.cutmix.{path}" for path in ("mix", "base", "space", "points", "x"))]
_PATHS += [
    "name",
    "question",
    "arms",
    "reference",
    "space",
    "points",
    "search",
    "replicates",
    "metric",
    "seed",
    "match",
]
_PATHS += ["budget", "budget.trials", "budget.max_epochs", "budget.early_stopping.rule", "budget.limits.gpu_hours"]
_PATHS += ["confirm", "confirm.searches", "confirm.seeds", "confirm.configs", "resources.cpus", "resources.gpus"]
_PATHS += ["space[optimizer.lr].hi", "space[optimizer.lr].kind", "arms[cutmix].mix", "extends", "scales.smoke", "base"]
_BAD_PATHS = (
    "",
    ".",
    "..",
    "a..b",
    ".a",
    "a.",
    "[",
    "]",
    "a[",
    "a]",
    "a[]",
    "[]",
    "a[b",
    "a[[b]]",
    "a b",
    " a",
    "a.b c",
)
_BAD_PATHS += (
    "x" * 5_000,
    ".".join("a" * 400),
    "[" * 400,
    "budget..trials",
    "ünï.cödé",
    "budget\n.trials",
    "__class__",
)
_BAD_VALUES = ("", " ", "[", "{", "}", "*a", "&a", "&a *a", "!!python/name:os.system", "{<<: 1}", "? ", "- ", "a: b: c")
_BAD_VALUES += (
    "[" * 5_000,
    "9" * 6_000,
    "1e999",
    "010",
    "0x10",
    "1:30",
    "|",
    "'",
    '"',
    "#",
    "%",
    "@",
    "`",
    "\0",
    "{}",
    "[]",
)


def setting(folder: Path, rng: random.Random, number: int, supplies: Supplies) -> Input:
    """Return a command with one or two settings, of which at least one has an odd path or an odd value."""
    study = "quickstart" if rng.random() < 0.5 else str(folder / "small.yaml")
    (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
    settings: list[str] = []
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(_BAD_PATHS) if rng.random() < 0.25 else rng.choice(_PATHS)
        text = rng.choice((*_BAD_VALUES, *map(_as_yaml, NASTY), *map(str, VARIANTS)))
        settings += ["--set", path if rng.random() < 0.03 else f"{path}={text}"]
    verb = ["plan", study] if rng.random() < 0.15 else ["run", study, "--out", str(supplies.full)]
    return Input([*verb, *(text.replace("\0", "\\0") for text in settings)], "odd setting")


def _as_yaml(value: Any) -> str:
    """Return a value as a command line would contain it."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    except RecursionError:
        return str(value)
