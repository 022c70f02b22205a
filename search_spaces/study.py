"""A study: a question with arms, a space and a budget, and the trials that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from search_spaces.arm import Arm, Overrides, Point, Points, Space
from search_spaces.budget import MAX_EPOCHS, MAX_SEEDS, Budget, Confirm
from search_spaces.halton import halton_point
from search_spaces.matching import Match, lowest_exposure, mixes_labels, with_exposure
from search_spaces.names import NAME, check_name
from search_spaces.resources import Resources
from trainables.config import TrialConfig
from trainables.errors import UserError, did_you_mean, shorten
from trainables.merging import at_path, merged
from trainables.mixing.config import Mix
from trainables.mixing.presets import expand_preset
from trainables.renames import original_path
from trainables.seeds import derive_seed, generator
from trainables.strict import Frozen, parse

DEFAULTS = TrialConfig(mix=Mix()).model_dump()
"""Every default, so that an override may change one parameter of a variant without naming the variant."""

MAX_ARMS = 1_000
"""Largest number of arms."""

Metric = Literal["val_nll", "val_top1_error"]
"""Validation metric that ranks trials, lower is better."""

Phase = Literal["search", "confirm"]
"""Purpose of a trial. Replicates with the same number share their seed across arms, and never across phases."""


class Study(Frozen):
    """A declared question: arms x space x replicates x budget.

    Attributes:
        name: short name, also of the file.
        question: question that the study is to answer.
        why_open: why the published work does not answer it.
        arms: conditions by name, in the order in which they are shown.
        reference: the baseline, the arm that the others are compared with; None: the first arm.
        space: parameters that vary in every arm.
        points: known configurations that every search tries first, for example the published one: values by dotted
            path of the space. They count as trials; a path that is left out is sampled as usual. A grid has no points.
        search: ``random``, ``quasi_random`` (Halton points, which fill the space more evenly) and ``tpe`` (Bergstra et
            al., NeurIPS 2011) sample from the space; ``grid`` runs all combinations.
        replicates: trials per configuration, with different seeds.
        budget: what each arm may spend.
        metric: metric that ranks the trials of a search: for rungs, ``tpe`` and winners.
        confirm: number of searches per arm, and which of their winners are trained again on fresh seeds; None: none.
        base: values that override the defaults of TrialConfig in all arms.
        resources: what a trial occupies while it runs.
        match: dose that is made equal between arms; ``exposure`` stands for its defaults.
        seed: seed of everything that is drawn in a sweep of this study.

    Examples:
        >>> study = Study(
        ...     name="small",
        ...     question="Does CutMix help?",
        ...     arms={"off": {"mix": "off"}, "cutmix": {"mix": "cutmix"}},
        ...     space={"optimizer.lr": {"kind": "loguniform", "lo": 0.03, "hi": 0.5}},
        ...     budget={"trials": 4, "max_epochs": 10},
        ... )
        >>> study.baseline
        'off'
        >>> params = study.draw("cutmix", number=0)
        >>> params == study.draw("off", number=0)  # common parameters take the same values in all arms
        True
        >>> study.trial_config("cutmix", params, replicate=0).mix.apply.prob
        0.5
    """

    name: str = Field(json_schema_extra={"pattern": f"^{NAME}$"})
    question: str = Field(min_length=1)
    why_open: str = ""
    arms: dict[str, Arm] = Field(min_length=1, max_length=MAX_ARMS)
    reference: str | None = None
    space: Space = {}
    points: Points = ()
    search: Literal["random", "quasi_random", "grid", "tpe"] = "random"
    replicates: int = Field(default=1, ge=1, le=MAX_SEEDS)
    budget: Budget
    metric: Metric = "val_nll"
    confirm: Confirm | None = None
    base: Overrides = {}
    resources: Resources = Resources()
    match: Match | None = None
    seed: int = Field(default=0, ge=0)

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        return check_name(name)

    @field_validator("match", mode="before")
    @classmethod
    def _short_match(cls, match: Any) -> Any:
        return {"dose": match} if isinstance(match, str) else match

    @field_validator("arms")
    @classmethod
    def _arm_names(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        for name in arms:
            check_name(name)
        return arms

    @model_validator(mode="after")
    def _known_reference(self) -> Study:
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"reference: there is no arm '{self.reference}'{did_you_mean(self.reference, self.arms)}")
        return self

    @model_validator(mode="after")
    def _has_budget(self) -> Study:
        if self.search != "grid" and self.budget.trials is None:
            raise ValueError(f"budget.trials is missing: search '{self.search}' needs a number of trials per arm")
        return self

    @model_validator(mode="after")
    def _whole_confirm(self) -> Study:
        if self.confirm is not None:
            confirm = self.confirm.with_defaults(searched=any(map(self.is_searched, self.arms)))
            object.__setattr__(self, "confirm", confirm)
            if confirm.searches * confirm.seeds < 2:
                raise ValueError(
                    "confirm: one search with one seed gives one value per arm, without an interval: raise "
                    "confirm.searches, or confirm.seeds if nothing varies"
                )
        return self

    @property
    def baseline(self) -> str:
        """Name of the arm that the others are compared with."""
        return next(iter(self.arms)) if self.reference is None else self.reference

    def space_of(self, arm: str) -> Space:
        """Return the domains of one arm: the study's and the arm's own, which win."""
        return self.space | self.arms[arm].space

    def n_grid_points(self, arm: str) -> int:
        """Return the number of combinations of the values in the arm's space; they are not listed.

        Raises:
            ValueError: a continuous domain has no number of points.
        """
        n_points = 1
        for path, domain in self.space_of(arm).items():
            try:
                n_points *= domain.n_values()
            except ValueError as error:
                raise ValueError(f"space of arm '{arm}', '{path}': {error}") from None
        return n_points

    def grid_point(self, arm: str, index: int) -> dict[str, Any]:
        """Return one combination of the values in the arm's space by dotted path; the last path varies fastest."""
        point = {}
        for path, domain in reversed(self.space_of(arm).items()):
            index, place = divmod(index, domain.n_values())
            point[path] = domain.grid()[place]
        return dict(reversed(point.items()))

    @property
    def trials_per_arm(self) -> int:
        """Trials that each arm's search gets."""
        if self.budget.trials is not None:
            return self.budget.trials
        return self.replicates * max(map(self.n_grid_points, self.arms))

    @property
    def confirming_per_arm(self) -> int:
        """Trials that confirm each arm's winners, if each search has as many winners as the study asks for."""
        return 0 if self.confirm is None else self.confirm.trials_per_arm

    @property
    def n_searches(self) -> int:
        """Number of independent searches per arm; 1 if the study confirms nothing."""
        return 1 if self.confirm is None else self.confirm.searches

    @property
    def trials_per_search(self) -> int:
        """Trials of each search."""
        return self.trials_per_arm // self.n_searches

    def is_searched(self, arm: str) -> bool:
        """Return whether something varies in an arm, so that a search has something to find."""
        return any(domain.varies for domain in self.space_of(arm).values())

    def search_of(self, arm: str, number: int) -> int:
        """Return the search, from 0, to which one arm's trial ``number`` belongs.

        Searches take turns. Trials of equal number belong to the same search in all arms, except on a grid, where each
        search runs the whole grid.
        """
        return self._place(arm, number)[0]

    def index_in_search(self, arm: str, number: int) -> int:
        """Return the index, from 0, of one arm's trial ``number`` within its search."""
        return self._place(arm, number)[1]

    def _place(self, arm: str, number: int) -> tuple[int, int]:
        if self.n_searches == 1 or self.confirm is None:
            return 0, number
        # trials that stay together: the replicates of a configuration, or a round of the grid
        together = self.n_grid_points(arm) if self.search == "grid" else self.replicates
        search, index = self.confirm.place(number // together)
        return search, index * together + number % together

    def max_epochs_of(self, params: Mapping[str, Any]) -> int:
        """Return the planned epochs of a trial with these drawn values by dotted path."""
        return int(params.get(MAX_EPOCHS, self.budget.max_epochs))

    def max_epochs_in(self, arm: str) -> int:
        """Return the total epochs of an arm's search if no trial stops early."""
        if MAX_EPOCHS not in self.space:
            return self.trials_per_arm * self.budget.max_epochs
        return sum(self.max_epochs_of(self.draw(arm, number)) for number in range(self.trials_per_arm))

    def draw(self, arm: str, number: int) -> dict[str, Any]:
        """Return the values by dotted path of one arm's trial ``number``, for random, quasi-random and grid search.

        A pure function of the study: it depends neither on the order nor on the outcome of other trials. Parameters
        that vary in every arm take the same values in all arms, trial by trial, unless an arm's own ``points`` give
        another value. The first trials of each search take the values of ``points``; that changes no other trial.
        """
        if self.search == "grid":
            return self.grid_point(arm, number % self.n_grid_points(arm))
        if self.search == "quasi_random":
            search, index = self._place(arm, number)
            quantiles = self._halton(arm, search, index // self.replicates)
        else:
            quantiles = self._uniform(arm, number // self.replicates)
        drawn = {path: domain.at(quantiles[path]) for path, domain in self.space_of(arm).items()}
        return drawn | self.known_values(arm, number)

    def points_of(self, arm: str) -> tuple[Point, ...]:
        """Return the known configurations that each search of the arm tries first: the study's, then its own."""
        return self.points + self.arms[arm].points

    def known_values(self, arm: str, number: int) -> dict[str, Any]:
        """Return the values of one arm's trial ``number`` that ``points`` give; empty after the last point.

        Raises:
            ValueError: a path is not in the arm's space, or a value is not in its domain.
        """
        points, space = self.points_of(arm), self.space_of(arm)
        index = self.index_in_search(arm, number) // self.replicates
        point = points[index] if index < len(points) else {}
        values = {}
        for path, value in point.items():
            if path not in space:
                raise ValueError(f"'{shorten(path)}' is not in the space of arm '{arm}'{did_you_mean(path, space)}")
            try:
                values[path] = space[path].member(value)
            except ValueError as error:
                raise ValueError(f"'{path}' of arm '{arm}' {error}") from None
        return values

    def _uniform(self, arm: str, point: int) -> dict[str, float]:
        """Return independent uniform numbers in [0, 1) by path."""
        owners = dict.fromkeys(self.space, "every arm") | dict.fromkeys(self.arms[arm].space, arm)
        return {
            path: generator(self.seed, "space", owner, original_path(path), point).random()
            for path, owner in owners.items()
        }

    def _halton(self, arm: str, search: int, point: int) -> dict[str, float]:
        """Return coordinates in [0, 1) by path of one point of two scrambled Halton sequences: common and the arm's.

        Each search has sequences of its own: every k-th point of one sequence would not fill the space. The arm's own
        parameters use the bases after the common ones. With the same bases the two sequences would be correlated,
        however they are scrambled.
        """
        space, n_common = self.arms[arm].space, len(self.space)
        key = _search_key(search)
        common = halton_point(point, n_dims=n_common, rng=generator(self.seed, "space", "every arm", *key))
        of_arm = halton_point(point, n_dims=n_common + len(space), rng=generator(self.seed, "space", arm, *key))
        return dict(zip(self.space, common, strict=True)) | dict(zip(space, of_arm[n_common:], strict=True))

    def replicate(self, arm: str, number: int) -> int:
        """Return the replicate of one arm's trial ``number``: the same replicate has the same seed in all arms.

        On a grid all points of a replicate share its seed; drawn configurations each have a seed of their own.
        """
        return number // self.n_grid_points(arm) if self.search == "grid" else number

    def is_control(self, arm: str, number: int) -> bool:
        """Return whether early stopping may not stop one arm's trial ``number``.

        Systematic sampling within each search: one offset u ~ U[0, 1) per search from the study's seed, and the n-th
        trial of the search is a control trial where floor(n f + u) steps up. floor(N f) or ceil(N f) of N trials are
        control trials, each with probability f. More trials change none of them.
        """
        search, index = self._place(arm, number)
        frac, offset = self.budget.control_frac, generator(self.seed, "control", *_search_key(search)).random()
        return math.floor((index + 1) * frac + offset) > math.floor(index * frac + offset)

    def trial_config(
        self, arm: str, params: Mapping[str, Any], *, replicate: int, phase: Phase = "search"
    ) -> TrialConfig:
        """Build the configuration of a trial, at the dose that the study asks for.

        Raises:
            UserError: base, arm and drawn values do not make a valid configuration, or no probability or size gives
                the dose.
        """
        return self.matched(arm, self.declared_config(arm, params, replicate=replicate, phase=phase))

    def declared_config(
        self, arm: str, params: Mapping[str, Any], *, replicate: int, phase: Phase = "search"
    ) -> TrialConfig:
        """Build the configuration of a trial as base, arm and drawn values declare it, before any matching.

        Raises:
            UserError: they do not make a valid configuration.
        """
        values = merged(self.arm_values(arm), at_path(MAX_EPOCHS, self.budget.max_epochs))
        for path, value in params.items():
            values = merged(values, at_path(path, value))
        if phase == "confirm":  # reported values can be computed again to the bit
            values = merged(values, {"compute": {"kernels": "reproducible"}})
        values["seed"] = derive_seed(self.seed, "replicate" if phase == "search" else phase, replicate)
        return parse(TrialConfig, values, where=f"study '{self.name}', arm '{arm}'")

    def arm_values(self, arm: str) -> Overrides:
        """Return all values of an arm, as nested mappings, before any value is drawn.

        Raises:
            UserError: the arm's policy names an unknown preset.
        """
        values = self.arms[arm].override(self.base)
        try:
            return merged(DEFAULTS, values | {"mix": expand_preset(values.get("mix", "off"))})
        except ValueError as error:
            raise UserError(f"study '{self.name}', arm '{arm}': 'mix': {error}") from None

    def corner_params(self, arm: str) -> Iterator[dict[str, Any]]:
        """Yield values by dotted path: each corner of each domain, the other domains at their first corner."""
        space = self.space_of(arm)
        first = {path: domain.corners()[0] for path, domain in space.items()}
        yield first
        for path, domain in space.items():
            for value in domain.corners()[1:]:
                yield first | {path: value}

    def extremes(self, arm: str) -> Iterator[TrialConfig]:
        """Yield the declared configurations at the corners of the arm's space."""
        return (self.declared_config(arm, params, replicate=0) for params in self.corner_params(arm))

    def is_matched(self, arm: str) -> bool:
        """Return whether the arm's dose is made equal to the dose of other arms."""
        if self.match is None or not self.match.includes(arm):
            return False
        return any(mixes_labels(config.mix) for config in self.extremes(arm))

    def matched(self, arm: str, config: TrialConfig) -> TrialConfig:
        """Return a declared configuration with the probability or size at which it has the study's exposure.

        Raises:
            UserError: no probability or size gives it.
        """
        if self.match is None or not self.match.includes(arm) or not mixes_labels(config.mix):
            return config
        target = self.match_target()
        try:
            return with_exposure(config, target, by=self.match.by)
        except ValueError as error:
            raise UserError(f"study '{self.name}', arm '{arm}': match: {error}") from None

    def match_target(self) -> float:
        """Return the exposure of all matched arms.

        Raises:
            ValueError: the study matches nothing.
        """
        if self.match is None:
            raise ValueError(f"study '{self.name}' matches nothing")
        if self.match.target is not None:
            return self.match.target
        return lowest_exposure([next(self.extremes(arm)) for arm in self.arms if self.is_matched(arm)])


def _search_key(search: int) -> tuple[str | int, ...]:
    """Return what the draws of a search are derived from; nothing for the first, as before there were several."""
    return ("search", search) if search else ()
