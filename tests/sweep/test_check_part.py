"""``cutmix-sweep check-part``: one line per law, for built-in parts and for the examples of the README files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweep.check_part import check_laws
from sweep.cli import app
from trainables.errors import UserError


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mypkg.masks:Diamond", "mask family"),
        ("mypkg.data:Stripes", "data source"),
        ("mypkg.nets:Plain", "network"),
        ("mypkg.axes:Brightness", "evaluation axis"),
        ("mypkg.rules:Patience", "early-stopping rule"),
    ],
)
def test_the_examples_of_the_readme_keep_every_law(name: str, kind: str) -> None:
    found, verdicts = check_laws(name)
    assert found == kind
    assert {verdict.law: verdict.reason for verdict in verdicts if verdict.reason} == {}


def test_a_broken_law_is_one_line_and_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_rules.py").write_text(
        "from search_spaces.early_stopping.median import MedianStopping\n"
        "class Loud(MedianStopping):\n    def build(self, max_epochs):\n        return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = CliRunner().invoke(app, ["check-part", "half_rules:Loud", "--set", "interval_epochs=2"])
    assert result.exit_code == 1
    first, *lines = result.output.splitlines()
    assert first == "early-stopping rule half_rules:Loud"
    assert {line.split()[0] for line in lines} == {"ok", "broken"}
    assert any("build(10) returned 3, not a Rule" in line for line in lines)


@pytest.mark.usefixtures("own_package")
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("halfplane", [], "no part has the name 'halfplane'; did you mean 'half_plane'?"),
        ("mypkg.rules:PatienceRule", [], "derives from none of trainables.mixing.masks.base.Mask, "),
        ("mypkg.rules:Patience", ["patience=3"], "did you mean 'patience_epochs'?"),
        ("mypkg.nets:Plain", ["depth=3"], "--set depth: a network has no settings"),
        ("imagefolder", [], "needs a path: 'imagefolder:PATH'"),
        ("none", [], "stops no trial"),
    ],
)
def test_what_cannot_be_checked_is_refused(name: str, settings: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        check_laws(name, settings)
    assert message in str(refused.value)
