"""A study: a question with arms, a space, a budget, and the trials that follow from them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from search_spaces.budget import Budget, Confirm
from search_spaces.contradictions import MAX_EPOCHS, check_contradictions
from search_spaces.domains import AnyDomain
from search_spaces.halton import halton_point
from search_spaces.matching import Match, check_matchable, matched
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.merging import at_path, merged
from trainables.mixing.config import Mix
from trainables.mixing.presets import expand_preset
from trainables.seeds import derive_seed, generator
from trainables.strict import Frozen, parse

Overrides = dict[str, Any]
"""Nested values laid over the defaults of TrialConfig."""

Space = dict[str, AnyDomain]
"""Domain by dotted path of TrialConfig."""

_DEFAULTS = TrialConfig(mix=Mix()).model_dump()
"""Every default, so that an override may change one parameter of a variant without naming the variant."""


Metric = Literal["val_nll", "val_top1_error"]
"""Validation metric by which trials are ranked, lower is better."""

Phase = Literal["search", "confirm"]
"""What a trial is for. Replicates of equal number share their seed across arms, and never across phases."""


class Resources(Frozen):
    """What a trial holds while it runs.

    Attributes:
        cpus: cores, also the number of threads.
        gpus: share of a GPU, at most one; a fraction shares it among several trials (its memory is not divided).
    """

    cpus: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0, le=1)


class Arm(Frozen):
    """A fixed condition that is compared with others.

    Attributes:
        base: values laid over the study's ``base`` for this arm.
        mix: the arm's mixing policy, short for ``base.mix``.
        space: parameters that vary within this arm only.
    """

    base: Overrides = {}
    mix: str | dict[str, Any] | None = None
    space: Space = {}

    @field_validator("mix")
    @classmethod
    def _known_preset(cls, mix: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        expand_preset({} if mix is None else mix)
        return mix

    @model_validator(mode="after")
    def _one_mix(self) -> Arm:
        if self.mix is not None and "mix" in self.base:
            raise ValueError("mix is short for base.mix: give one of them, as in mix: {preset: cutmix, ...}")
        return self

    def over(self, base: Overrides) -> Overrides:
        """Lay the arm over the study's values: a preset that the arm names wins, what it leaves open stays."""
        values = merged(base, self.base)
        if self.mix is None:
            return values
        return values | {"mix": merged(expand_preset(values.get("mix", {})), expand_preset(self.mix))}


class Study(Frozen):
    """A declared question: arms x space x replicates x budget.

    Attributes:
        name: short name, also of the file.
        question: what the study is to answer.
        why_open: why the published work does not answer it.
        arms: conditions by name, in the order in which they are shown.
        space: parameters that vary in every arm.
        search: ``random``, ``quasi_random`` (Halton points, which fill the space more evenly) and ``tpe`` (Bergstra et
            al., NeurIPS 2011) draw from the space, ``grid`` lays it out.
        replicates: trials of each configuration, with different seeds.
        budget: what each arm may spend.
        metric: what the trials of an arm are ranked by: rungs, ``tpe``, winners.
        confirm: which winners are trained again on fresh seeds once an arm's search is over; None: none.
        base: values laid over the defaults of TrialConfig in all arms.
        resources: what a trial holds while it runs.
        match: dose that is made equal between arms; ``exposure`` stands for its defaults.
        seed: everything drawn in a sweep of this study follows from it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    question: str = Field(min_length=1)
    why_open: str = ""
    arms: dict[str, Arm] = Field(min_length=1)
    space: Space = {}
    search: Literal["random", "quasi_random", "grid", "tpe"] = "random"
    replicates: int = Field(default=1, ge=1)
    budget: Budget
    metric: Metric = "val_nll"
    confirm: Confirm | None = None
    base: Overrides = {}
    resources: Resources = Resources()
    match: Match | None = None
    seed: int = Field(default=0, ge=0)

    @field_validator("match", mode="before")
    @classmethod
    def _short_match(cls, match: Any) -> Any:
        return {"dose": match} if isinstance(match, str) else match

    @field_validator("arms")
    @classmethod
    def _arm_names(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        for name in arms:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"an arm's name has small letters, digits and '_', got {name!r}")
        return arms

    @model_validator(mode="after")
    def _has_budget(self) -> Study:
        if self.search != "grid" and self.budget.trials is None:
            raise ValueError(f"budget.trials is missing: search '{self.search}' needs a number of trials an arm")
        return self

    def space_of(self, arm: str) -> Space:
        """Domains of one arm: the study's and its own, which win."""
        return self.space | self.arms[arm].space

    def grid_of(self, arm: str) -> list[dict[str, Any]]:
        """All combinations of the arm's domains, each as values by dotted path.

        Raises:
            ValueError: a continuous domain says no number of points.
        """
        space = self.space_of(arm)
        columns: list[list[Any]] = []
        for path, domain in space.items():
            try:
                columns.append(domain.grid())
            except ValueError as error:
                raise ValueError(f"space of arm '{arm}', '{path}': {error}") from None
        return [dict(zip(space, values, strict=True)) for values in itertools.product(*columns)]

    @property
    def trials_per_arm(self) -> int:
        """Trials that each arm gets."""
        if self.budget.trials is not None:
            return self.budget.trials
        return self.replicates * max(len(self.grid_of(arm)) for arm in self.arms)

    @property
    def confirming_per_arm(self) -> int:
        """Trials that confirm each arm's winners, if it has as many as are asked for."""
        return 0 if self.confirm is None else self.confirm.configs * self.confirm.seeds

    def max_epochs_of(self, params: Mapping[str, Any]) -> int:
        """Planned epochs of a trial with these drawn values by dotted path."""
        return int(params.get(MAX_EPOCHS, self.budget.max_epochs))

    def max_epochs_in(self, arm: str) -> int:
        """Epochs of all trials of an arm together if none stops early."""
        if MAX_EPOCHS not in self.space:
            return self.trials_per_arm * self.budget.max_epochs
        return sum(self.max_epochs_of(self.draw(arm, number)) for number in range(self.trials_per_arm))

    def draw(self, arm: str, number: int) -> dict[str, Any]:
        """Values by dotted path of one arm's trial ``number``, for random, quasi-random and grid search.

        A pure function of the study: it depends neither on the order nor on the outcome of other trials. Parameters
        that vary in every arm take the same values in all of them, trial by trial.
        """
        if self.search == "grid":
            grid = self.grid_of(arm)
            return grid[number % len(grid)]
        point = number // self.replicates
        quantiles = (self._halton if self.search == "quasi_random" else self._uniform)(arm, point)
        return {path: domain.at(quantiles[path]) for path, domain in self.space_of(arm).items()}

    def _uniform(self, arm: str, point: int) -> dict[str, float]:
        """Independent uniform numbers in [0, 1) by path."""
        owners = dict.fromkeys(self.space, "every arm") | dict.fromkeys(self.arms[arm].space, arm)
        return {path: generator(self.seed, "space", owner, path, point).random() for path, owner in owners.items()}

    def _halton(self, arm: str, point: int) -> dict[str, float]:
        """Coordinates in [0, 1) by path of one point of scrambled Halton sequences: a common one, and the arm's own.

        The arm's own parameters take the bases that follow the common ones: in equal bases the two sequences would walk
        together, however they are scrambled.
        """
        space, n_common = self.arms[arm].space, len(self.space)
        common = halton_point(point, n_dims=n_common, rng=generator(self.seed, "space", "every arm"))
        own = halton_point(point, n_dims=n_common + len(space), rng=generator(self.seed, "space", arm))
        return dict(zip(self.space, common, strict=True)) | dict(zip(space, own[n_common:], strict=True))

    def replicate(self, arm: str, number: int) -> int:
        """Replicate of one arm's trial ``number``: trials of equal replicate share their seed across arms.

        On a grid all points of a replicate share it (a block); drawn configurations each have their own.
        """
        return number // len(self.grid_of(arm)) if self.search == "grid" else number

    def is_control(self, number: int) -> bool:
        """Whether early stopping may not touch trial ``number`` of any arm.

        Systematic sampling: one offset u ~ U[0, 1) from the study's seed, and trial n is taken where floor(n f + u)
        steps up. Of N trials floor(N f) or ceil(N f) are taken, each with chance f; more trials change none of them.
        """
        frac, offset = self.budget.control_frac, generator(self.seed, "control").random()
        return math.floor((number + 1) * frac + offset) > math.floor(number * frac + offset)

    def trial_config(
        self, arm: str, params: Mapping[str, Any], *, replicate: int, phase: Phase = "search"
    ) -> TrialConfig:
        """Build the configuration of a trial, at the dose that the study asks for.

        Raises:
            UserError: base, arm and drawn values do not make a valid configuration, or no probability or size gives
                the dose.
        """
        return matched(self, arm, self.declared_config(arm, params, replicate=replicate, phase=phase))

    def declared_config(
        self, arm: str, params: Mapping[str, Any], *, replicate: int, phase: Phase = "search"
    ) -> TrialConfig:
        """Build the configuration of a trial as base, arm and drawn values declare it, before any matching.

        Raises:
            UserError: they do not make a valid configuration.
        """
        values = merged(self._values(arm), at_path(MAX_EPOCHS, self.budget.max_epochs))
        for path, value in params.items():
            values = merged(values, at_path(path, value))
        values["seed"] = derive_seed(self.seed, "replicate" if phase == "search" else phase, replicate)
        return parse(TrialConfig, values, where=f"study '{self.name}', arm '{arm}'")

    def _values(self, arm: str) -> Overrides:
        """All values of an arm before any is drawn."""
        values = self.arms[arm].over(self.base)
        try:
            return merged(_DEFAULTS, values | {"mix": expand_preset(values.get("mix", "off"))})
        except ValueError as error:
            raise UserError(f"study '{self.name}', arm '{arm}': 'mix': {error}") from None

    def check(self) -> None:
        """Refuse a study whose arms or domains lead to an invalid configuration.

        Raises:
            UserError: naming the arm, the path and the value.
        """
        check_contradictions(self)
        parse(TrialConfig, merged(_DEFAULTS, self.base), where=f"study '{self.name}', base")
        try:
            for arm in self.arms:
                parse(TrialConfig, self._values(arm), where=f"study '{self.name}', arm '{arm}'")
                for params in self._extremes(arm):
                    self.declared_config(arm, params, replicate=0)
                if self.search == "grid":
                    self.grid_of(arm)
        except ValueError as error:
            raise UserError(f"study '{self.name}': {error}") from None
        if self.search == "grid":
            self._check_grid_budget()
        check_matchable(self)

    def _check_grid_budget(self) -> None:
        points = {arm: len(self.grid_of(arm)) for arm in self.arms}
        largest = max(points, key=lambda arm: points[arm])
        if self.trials_per_arm < points[largest]:
            raise UserError(
                f"study '{self.name}': budget.trials is {self.trials_per_arm}, but the grid of arm '{largest}' has "
                f"{points[largest]} points: leave budget.trials out or raise it"
            )
        planned = {arm: self.max_epochs_in(arm) for arm in self.arms}
        least, most = min(planned, key=lambda arm: planned[arm]), max(planned, key=lambda arm: planned[arm])
        if planned[least] < planned[most]:
            raise UserError(
                f"study '{self.name}': the grid of arm '{most}' plans {planned[most]} epochs in {self.trials_per_arm} "
                f"trials, that of arm '{least}' {planned[least]}: choose replicates or budget.trials so that every arm "
                "goes through its grid in whole rounds"
            )

    def extremes(self, arm: str) -> Iterator[TrialConfig]:
        """Declared configurations at the corners of the arm's space."""
        return (self.declared_config(arm, params, replicate=0) for params in self._extremes(arm))

    def _extremes(self, arm: str) -> Iterator[dict[str, Any]]:
        """The corners of each domain, the others at their first corner."""
        space = self.space_of(arm)
        first = {path: domain.corners()[0] for path, domain in space.items()}
        yield first
        for path, domain in space.items():
            for value in domain.corners()[1:]:
                yield first | {path: value}
