"""Parts of one's own: found by import path and entry point, refused in one line, kept by JSON like built-in ones."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.budget import Budget
from search_spaces.own_parts import own_parts
from search_spaces.study import Study
from trainables import parts
from trainables.config import TrialConfig
from trainables.data.prepared import prepare_data
from trainables.errors import UserError
from trainables.mixing.masks import FAMILIES
from trainables.own_part import shipped_paths
from trainables.strict import parse
from trainables.trial import Trial

DIAMOND = {"preset": "cutmix", "mask": {"family": "mypkg.masks:Diamond"}}
IMPORT = "from trainables.mixing.masks.base import Mask"
STRIPES = {"source": "mypkg.data:Stripes", "pad_px": 0, "batch_size": 32}


def config(values: dict[str, Any]) -> TrialConfig:
    return parse(TrialConfig, values, where="study")


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module of a name of its own into the working directory; return the name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"own_{abs(hash((str(tmp_path), text)))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.mark.usefixtures("own_package")
def test_a_trial_of_own_parts_trains_and_survives_json() -> None:
    own = config({"data": STRIPES, "model": {"name": "mypkg.nets:Plain", "precision": "fp32"}, "mix": DIAMOND})
    again = TrialConfig.model_validate_json(own.model_dump_json())
    assert again == own
    assert hash(again) == hash(own)
    assert again.mix.mask.family == "mypkg.masks:Diamond"
    trial = Trial(again, prepare_data(again.data))
    assert trial.run_epoch().val_top1_error < 0.6
    assert [type(part).__name__ for part in (trial._net, own.mix.mask)] == ["StagedNet", "Diamond"]


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mix": {"mask": DIAMOND["mask"] | {"widht": 1}}}, "unknown key 'mix.mask.widht'; valid: family"),  # type: ignore[operator]
        ({"mix": {"mask": {"family": "mypkg.masks:Diamnd"}}}, "did you mean 'Diamond'? valid: Diamond"),
        ({"mix": {"mask": {"family": "mypkg.nets:Plain"}}}, "does not derive from trainables.mixing.masks.base.Mask"),
        ({"mix": {"mask": {"family": "mypkg.mask:Diamond"}}}, "there is no module 'mypkg.mask' in the installed"),
        ({"mix": {"mask": {"family": "trainables.mixing.masks.box:Box"}}}, "is built in: use its name 'box'"),
        ({"mix": {"mask": {"family": "mypkg.masks:3"}}}, "must have the form package.module:Class"),
        ({"mix": {"mask": {"family": "__main__:Diamond"}}}, "write it to a file"),
        ({"mix": {"mask": {"family": "bxo"}}}, "'mix.mask.family' is unknown: 'bxo'; did you mean 'box'?"),
        ({"model": {"name": "mypkg.masks:Diamond"}}, "network 'mypkg.masks:Diamond': class 'Diamond' of module"),
        ({"model": {"name": "tniy"}}, "unknown network 'tniy'; did you mean 'tiny'?"),
        ({"model": {"name": "mypkg.nets:Plain"}, "mix": {"layer": 3}}, "'mypkg.nets:Plain' has 2 stages"),
        ({"data": {"source": "mypkg.data:Stripes:photos"}}, "'mypkg.data:Stripes' takes no path, got 'photos'"),
        ({"data": {"source": "__main__:Stripes"}}, "write it to a file"),
        ({"data": {"source": "imagefoldr:photos"}}, "unknown data source 'imagefoldr'; did you mean 'imagefolder'?"),
        ({"data": STRIPES, "mix": "objectmix"}, "data.source 'mypkg.data:Stripes' has none"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        config(values)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("class Half:\n    def", "SyntaxError"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('usage: script.py FILE')", "SystemExit: usage: script.py FILE"),
        (
            "from trainables.mixing.masks.base import Mask\nclass Half(Mask):\n    pass",
            "is abstract: it does not define parameters, render",
        ),
        ("Half = 3", "has no class 'Half', and no other class of the kind"),
    ],
)
def test_a_broken_module_is_named_with_file_and_reason(
    text: str, message: str, own_module: Callable[[str], str], tmp_path: Path
) -> None:
    name = own_module(text)
    with pytest.raises(UserError, match=f"mask family '{name}:Half'") as refused:
        config({"mix": {"mask": {"family": f"{name}:Half"}}})
    assert message in str(refused.value)
    assert f"{tmp_path / name}.py" in str(refused.value)


def test_a_module_that_two_folders_have_is_refused(
    own_module: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python imports the first one, also for the study in the other folder."""
    name = own_module("")
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{name}.py").touch()
    monkeypatch.setattr("trainables.parts._FOLDERS", [tmp_path, other])
    with pytest.raises(UserError, match=f"several modules '{name}'"):
        config({"mix": {"mask": {"family": f"{name}:Half"}}})


def test_a_class_derived_from_a_built_in_one_has_a_name_of_its_own(own_module: Callable[[str], str]) -> None:
    """Otherwise its configuration would mean the built-in class in every worker."""
    name = own_module("from trainables.mixing.masks.box import Box\nclass Wide(Box):\n    wide: int = 2\n")
    mix = config({"mix": {"mask": {"family": f"{name}:Wide", "count": 3}}}).mix
    assert mix.model_dump()["mask"]["family"] == f"{name}:Wide"
    assert type(mix.mask)().family == f"{name}:Wide"


def test_a_list_stands_for_a_tuple(own_module: Callable[[str], str]) -> None:
    """YAML and the manifest have no tuples: a sweep with such a class could be started, but not resumed."""
    name = own_module(
        f"{IMPORT}\nclass Ring(Mask):\n    positions = ('clip',)\n    radii: tuple[float, float] = (0.1, 0.2)\n"
        "    def draw(self, pasted_frac, canvas): pass\n"
    )
    ring = config({"mix": {"mask": {"family": f"{name}:Ring", "radii": [0.3, 0.4]}}})
    assert ring.mix.mask.model_dump()["radii"] == (0.3, 0.4)
    assert parse(FAMILIES[f"{name}:Ring"], {"radii": [0.3, 0.4]}, where="check-part") == ring.mix.mask
    assert config(ring.model_dump()).mix == ring.mix
    assert config({"mix": {"mask": ring.mix.mask.model_dump(mode="json")}}).mix == ring.mix
    with pytest.raises(UserError, match=r"radii': .* list, got 3"):
        config({"mix": {"mask": {"family": f"{name}:Ring", "radii": 3}}})
    with pytest.raises(UserError, match=r"'mix\.mask\.radii\.1' is missing"):
        config({"mix": {"mask": {"family": f"{name}:Ring", "radii": [0.3]}}})


def test_missing_declarations_and_taken_names_are_refused(own_module: Callable[[str], str]) -> None:
    head = "from trainables.data.sources.digits import Digits\nfrom trainables.networks.base import Network\n"
    name = own_module(f"{head}class Mine(Digits):\n    pass\nclass Net(Network):\n    def build(self): pass\n")
    with pytest.raises(UserError, match="has the name 'digits' of a built-in one: give it another name"):
        config({"data": {"source": f"{name}:Mine"}})
    with pytest.raises(UserError, match="does not declare n_stages"):
        config({"model": {"name": f"{name}:Net"}})


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def declare(name: str) -> None:
        point = importlib.metadata.EntryPoint(name, "mypkg.masks:Diamond", "cutmix_sweep.masks")
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda group: [point] if group == "cutmix_sweep.masks" else []
        )
        parts._entry_points.cache_clear()
        FAMILIES._found.clear()

    yield declare  # type: ignore[misc]
    monkeypatch.undo()
    parts._entry_points.cache_clear()
    FAMILIES._found.clear()


@pytest.mark.usefixtures("own_package")
def test_an_entry_point_is_a_short_name(entry_point: Callable[[str], None]) -> None:
    entry_point("diamond")
    mask = config({"mix": {"mask": {"family": "diamond"}}}).mix.mask
    assert (type(mask).__name__, mask.family) == ("Diamond", "diamond")
    with pytest.raises(UserError, match="did you mean 'diamond'"):
        config({"mix": {"mask": {"family": "diamnd"}}})
    entry_point("box")
    with pytest.raises(UserError, match=r"entry point 'box' .* names mypkg\.masks:Diamond"):
        config({"mix": {"mask": {"family": "diamond"}}})


@pytest.mark.usefixtures("own_package")
def test_a_rule_is_read_with_its_parameters() -> None:
    values = {"trials": 4, "max_epochs": 9, "early_stopping": {"rule": "mypkg.rules:Patience", "patience_epochs": 2}}
    stopping = parse(Budget, values, where="budget").early_stopping
    assert stopping.model_dump() == {"patience_epochs": 2, "rule": "mypkg.rules:Patience"}
    values["early_stopping"] = {"rule": "mypkg.rules:Patience", "patience": 2}
    with pytest.raises(UserError, match="did you mean 'patience_epochs'"):
        parse(Budget, values, where="budget")


def test_the_parts_of_a_study_are_listed_and_only_their_package_is_sent(own_package: Path) -> None:
    study = Study(
        name="own",
        question="?",
        arms={"off": {"mix": "off"}, "diamond": {"mix": DIAMOND}},
        space={"model.name": {"kind": "choice", "values": ["tiny", "mypkg.nets:Plain"]}},
        base={"data": STRIPES},
        budget={"trials": 2, "max_epochs": 3, "early_stopping": {"rule": "mypkg.rules:Patience", "patience_epochs": 1}},
    )
    found = own_parts(study)
    assert {(part.kind, part.name.rpartition(":")[2]) for part in found} == {
        ("mask family", "Diamond"),
        ("data source", "Stripes"),
        ("network", "Plain"),
        ("early-stopping rule", "Patience"),
    }
    assert shipped_paths(found) == [own_package]
    record = found[0].record()
    assert (record["distribution"], record["version"], record["folder"]) == (None, None, str(own_package.parent))
