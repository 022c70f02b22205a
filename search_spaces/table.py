"""Tables of the paper: the studies that fill one of them again, and what is measured on their trials.

A table is one file in ``search_spaces/tables``. Its studies are files in ``search_spaces/tables/studies``. Several
tables may use arms of one study, so that its sweep is trained once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from search_spaces.discover import load_study, parse_setting, read_values
from search_spaces.scales import SCALES
from search_spaces.study import Study
from trainables.data.sources.registry import split_text
from trainables.errors import UserError, did_you_mean, shorten
from trainables.merging import merged
from trainables.strict import Frozen, parse

TABLES_DIR = Path(__file__).parent / "tables"

PAPER_SCALE = "paper"
"""Scale at which a table is comparable with the paper."""

AxisValues = dict[str, dict[str, Any]]
"""Settings of evaluation axes, by the name of the axis."""

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class TableStudy(Frozen):
    """Arms of one study that a table needs, and what is measured on them.

    Attributes:
        dataset: data set of the published numbers.
        model: network of the published numbers.
        arms: arms of the study that the table needs, the baseline among them.
        axes: evaluation axes with their settings; what is not given has the axis' default.
        smaller: settings of these axes at a smaller scale, by the name of the scale.
        metrics: quantities of the table, in the names of ``analysis.published.QUANTITIES``.
    """

    dataset: str
    model: str
    arms: Names
    axes: AxisValues
    smaller: dict[str, AxisValues] = {}
    metrics: Names

    @model_validator(mode="after")
    def _changes_what_there_is(self) -> TableStudy:
        for scale, values in self.smaller.items():
            if scale not in SCALES:
                raise ValueError(f"smaller.{scale} is unknown{did_you_mean(scale, SCALES)}")
            for axis in values.keys() - self.axes.keys():
                raise ValueError(f"smaller.{scale}.{axis} is unknown{did_you_mean(axis, self.axes)}")
        return self

    def axes_at(self, scale: str) -> AxisValues:
        """Return the settings of the axes at a scale."""
        return merged(self.axes, self.smaller.get(scale, {}))


class NotRun(Frozen):
    """Published numbers that are not computed again.

    Attributes:
        why: the reason.
        dataset: data set of the numbers; None: of any.
        model: network of the numbers; None: any.
        arm: arm of the numbers, as published; None: any.
    """

    why: str
    dataset: str | None = None
    model: str | None = None
    arm: str | None = None


class Table(Frozen):
    """A table of the paper, or several tables of one subject.

    Attributes:
        title: what the table compares.
        source: the publication, with the numbers of its tables.
        tables: numbers of the published tables whose rows must all be here: computed again, or in ``not_run``.
        studies: studies by name, in the order in which they run.
        differs: differences from the published protocol that hold for the whole table.
        not_run: published numbers that are not computed again, with the reasons.
    """

    title: str
    source: str
    tables: Names
    studies: dict[str, TableStudy] = Field(min_length=1)
    differs: Annotated[tuple[str, ...], Field(strict=False)] = ()
    not_run: Annotated[tuple[NotRun, ...], Field(strict=False)] = ()

    def published_values(self) -> dict[str, Any]:
        """Return what ``analysis.published.fill_table`` needs, as plain values: that package knows no table."""
        values = self.model_dump(include={"studies", "tables", "not_run"})
        return {**values, "not_run": list(values["not_run"])}


@dataclass(frozen=True)
class TablePart:
    """One study of a table, at a scale.

    Attributes:
        name: name of the study, and of the folder of its sweep.
        study: the study, with the arms that the table needs.
        entry: what the table's file says of it.
        axes: settings of the evaluation axes by name.
    """

    name: str
    study: Study
    entry: TableStudy
    axes: AxisValues

    @property
    def n_measurements(self) -> int:
        """Number of measurements: one per trial and axis."""
        return len(self.axes) * len(self.study.arms) * self.study.trials_per_arm


def tables() -> list[str]:
    """Return the names of the tables.

    Examples:
        >>> tables()
        ['ablation', 'cifar', 'imagenet', 'localization', 'robustness', 'transfer']
    """
    return sorted(path.stem for path in TABLES_DIR.glob("*.yaml"))


def read_table(name: str) -> Table:
    """Read the file of a table.

    Raises:
        UserError: there is no such table.

    Examples:
        >>> read_table("ablation").tables
        ('8',)
    """
    if name not in tables():
        raise UserError(f"unknown table '{shorten(name)}'{did_you_mean(name, tables())}")
    return parse(Table, read_values(TABLES_DIR / f"{name}.yaml"), where=f"table '{name}'")


def load_parts(
    name: str, *, scale: str = PAPER_SCALE, settings: Sequence[str] = (), data: Sequence[str] = ()
) -> list[TablePart]:
    """Load the studies of a table and check that all their trials are valid.

    Args:
        name: name of the table.
        scale: name of the scale.
        settings: values that override all studies, each ``PATH=VALUE``. A path that begins with the name of a study
            changes this study alone; one that begins with an axis of the table changes a setting of the axis.
        data: data sources; each replaces the source of the same name, or all sources if none has its name.

    Raises:
        UserError: no such table or scale, or a setting or a source is not valid.

    Examples:
        >>> [part] = load_parts("ablation", scale="smoke", settings=["budget.max_epochs=3", "seed=7"])
        >>> part.study.budget.max_epochs, part.study.seed, list(part.study.arms)[:3]
        (3, 7, ['off', 'cutmix', 'center_gaussian'])
    """
    table = read_table(name)
    axis_names = {axis for entry in table.studies.values() for axis in entry.axes}
    of_axes, of_studies = _divided(settings, axis_names)
    unchanged = {study: _load(study, table, scale, []) for study in table.studies}
    places = _placed(unchanged, data)
    parts = []
    for study, entry in table.studies.items():
        own = [place for place in [places.get(study)] if place] + list(_of_study(of_studies, study, table.studies))
        axes = {axis: merged(values, of_axes.get(axis, {})) for axis, values in entry.axes_at(scale).items()}
        loaded = _load(study, table, scale, own) if own else unchanged[study]
        parts.append(TablePart(study, loaded, entry, axes))
    return parts


def _load(name: str, table: Table, scale: str, settings: Sequence[str]) -> Study:
    """Load a study with the arms that the table needs, in the order of the table."""
    path = TABLES_DIR / "studies" / f"{name}.yaml"
    values, wanted = read_values(path), table.studies[name].arms
    arms = values["arms"]
    for arm in wanted:
        if arm not in arms:
            raise UserError(f"study '{name}' has no arm '{arm}'{did_you_mean(arm, arms)}")
    values = {"name": name, **values, "arms": {arm: arms[arm] for arm in wanted}}
    return load_study(values, scale=scale, settings=settings)


def _divided(settings: Sequence[str], axes: set[str]) -> tuple[AxisValues, list[str]]:
    """Return the settings of axes, by axis, and the settings of studies."""
    of_axes: dict[str, Any] = {}
    of_studies = []
    for setting in settings:
        axis = setting.partition("=")[0].partition(".")[0]
        if axis not in axes:
            of_studies.append(setting)
            continue
        values = parse_setting(setting)
        if not isinstance(values[axis], Mapping):
            raise UserError(f"--set {axis}: takes one setting, for example {axis}.n_images=500")
        of_axes = merged(of_axes, values)
    return of_axes, of_studies


def _of_study(settings: Sequence[str], study: str, studies: Mapping[str, TableStudy]) -> Iterator[str]:
    """Yield the settings of one study, without its name."""
    for setting in settings:
        first, dot, rest = setting.partition(".")
        if dot and first in studies and "=" not in first:
            if first == study:
                yield rest
        else:
            yield setting


def _placed(studies: Mapping[str, Study], data: Sequence[str]) -> dict[str, str]:
    """Return the setting of the data source by study."""
    places: dict[str, str] = {}
    sources = {name: split_text(_source(study))[0] for name, study in studies.items()}
    for source in data:
        named = [study for study, own in sources.items() if own == split_text(source)[0]]
        for study in named or studies:
            places[study] = f"base.data.source={_quoted(source)}"
    return places


def _source(study: Study) -> str:
    return str(study.base.get("data", {}).get("source", "digits"))


def _quoted(text: str) -> str:
    """Return a text that YAML reads as this text."""
    return "'" + text.replace("'", "''") + "'"
