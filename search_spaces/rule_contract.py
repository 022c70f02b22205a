"""Laws of early-stopping rules, checked on random observations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from search_spaces.budget import Budget
from search_spaces.early_stopping.base import CONTINUE, PAUSE, STOP, Judgement, Rule, Stopping
from search_spaces.early_stopping.parse import format_rule, parse_rule
from trainables.contracts.law import Law, require
from trainables.seeds import generator
from trainables.strict import parse

MAX_EPOCHS = 10
N_TRIALS = 12
N_SEQUENCES = 100
"""Random sequences of observations per law."""

Observation = tuple[int, int, float]
"""Trial, epoch, value."""


def rule_of(stopping: Stopping) -> Rule:
    """Return a new rule for trials of 10 planned epochs.

    Raises:
        BrokenLawError: the configuration builds none.
    """
    rule = stopping.build(MAX_EPOCHS)
    require(isinstance(rule, Rule), f"build({MAX_EPOCHS}) returned {rule!r}, not a Rule")
    assert rule is not None
    return rule


def sequences(*, finite: bool = False) -> Iterator[list[Observation]]:
    """Yield random observations of some trials, mingled; the epochs of each trial arrive in order."""
    for number in range(N_SEQUENCES):
        rng = generator(number, "observations of a rule")
        reached = dict.fromkeys(range(N_TRIALS), 0)
        seen = []
        for trial in rng.integers(0, N_TRIALS, size=rng.integers(1, 80)).tolist():
            reached[trial] += 1
            special = [0.5, 1.0] if finite else [0.5, 1.0, math.nan, math.inf, -math.inf]
            value = float(rng.choice(special)) if rng.random() < 0.25 else float(rng.uniform(0, 5))
            if reached[trial] <= MAX_EPOCHS:
                seen.append((trial, reached[trial], value))
        yield seen


def judgements(rule: Rule, seen: Sequence[Observation]) -> list[Judgement | None]:
    """Return what a rule says to each observation."""
    return [rule.observe(*observation) for observation in seen]


def check_described(stopping: Stopping) -> None:
    """Check that the configuration describes itself, and is read as it is typed in ``replay --rule``."""
    require(stopping.describe(), "describe() is empty")
    typed = format_rule(stopping)
    budget = {"trials": 9, "max_epochs": MAX_EPOCHS, "early_stopping": parse_rule(typed)}
    again = parse(Budget, budget, where=typed).early_stopping
    require(again == stopping, f"'{typed}' is read as {again!r}")
    require(
        type(stopping).model_validate_json(stopping.model_dump_json()) == stopping, "JSON gives another configuration"
    )


def check_rungs(stopping: Stopping) -> None:
    """Check that each trial has rungs in order, all before its planned epochs."""
    for trial in range(40):
        rungs = rule_of(stopping).rungs(trial)
        require(rungs, f"trial {trial} has no rung, so no trial is ever judged")
        require(rungs == sorted(set(rungs)), f"the rungs of trial {trial} are {rungs}")
        require(rungs[0] >= 1 and rungs[-1] < MAX_EPOCHS, f"trial {trial} of {MAX_EPOCHS} epochs has rungs {rungs}")


def check_judges_at_rungs_only(stopping: Stopping) -> None:
    """Check that a trial is judged at its rungs and at no other epoch."""
    for seen in sequences():
        rule = rule_of(stopping)
        for (trial, epoch, _), judged in zip(seen, judgements(rule, seen), strict=True):
            at_rung = epoch in rule.rungs(trial)
            require((judged is not None) == at_rung, f"trial {trial}, epoch {epoch}, a rung: {at_rung}, gives {judged}")
            require(judged is None or judged.rung_epochs == epoch, f"epoch {epoch} gives {judged}")
            require(
                judged is None or judged.verdict in (CONTINUE, STOP, PAUSE),
                f"the verdict is {judged.verdict if judged else ''!r}; valid: {CONTINUE}, {STOP}, {PAUSE}",
            )
            may_pause = epoch in rule.pausing_rungs(trial)
            require(
                judged is None or judged.verdict != PAUSE or may_pause,
                f"trial {trial} is paused at epoch {epoch}, which pausing_rungs leaves out",
            )


def check_not_finite_is_stopped(stopping: Stopping) -> None:
    """Check that a value that is not finite ends its trial at a rung."""
    for seen in sequences():
        for (trial, epoch, value), judged in zip(seen, judgements(rule_of(stopping), seen), strict=True):
            ends = judged is None or math.isfinite(value) or judged.verdict == STOP
            require(ends, f"trial {trial} has {value} at the rung at epoch {epoch}, which gives {judged}")


def check_cutoff_explains_the_verdict(stopping: Stopping) -> None:
    """Check that a trial continues if and only if its value is finite and at most the cutoff, if there is one."""
    for seen in sequences():
        for judged in judgements(rule_of(stopping), seen):
            if judged is None:
                continue
            require(judged.cutoff is None or math.isfinite(judged.cutoff), f"the cutoff is not finite: {judged}")
            fine = math.isfinite(judged.value) and (judged.cutoff is None or judged.value <= judged.cutoff)
            require((judged.verdict == CONTINUE) == fine, f"{judged}")


def check_too_few_are_not_stopped(stopping: Stopping) -> None:
    """Check that no trial is stopped before ``min_recorded`` trials are recorded, if the rule has this parameter."""
    if "min_recorded" not in type(stopping).model_fields:
        return
    needed = getattr(stopping, "min_recorded") + getattr(stopping, "counts_others", False)  # noqa: B009
    for seen in sequences(finite=True):
        for judged in judgements(rule_of(stopping), seen):
            if judged and judged.n_recorded < needed:
                fine = (judged.verdict, judged.cutoff) == (CONTINUE, None)
                require(fine, f"{needed} trials are needed, but there is a verdict: {judged}")


def check_lone_trial_continues(stopping: Stopping) -> None:
    """Check that a trial without others runs to its end, if the rule compares trials (``min_recorded``)."""
    if "min_recorded" not in type(stopping).model_fields:
        return
    for number in range(N_SEQUENCES):
        curve = generator(number, "curve of a lone trial").uniform(0, 5, size=MAX_EPOCHS).tolist()
        seen = [(number % 20, epoch, value) for epoch, value in enumerate(curve, start=1)]
        stopped = [judged for judged in judgements(rule_of(stopping), seen) if judged and judged.verdict != CONTINUE]
        require(not stopped, f"{stopped[:1]}")


def check_function_of_the_observations(stopping: Stopping) -> None:
    """Check that the same observations give the same judgements, so that a resumed sweep is an uninterrupted one."""
    for seen in sequences():
        first, again = (judgements(rule_of(stopping), seen) for _ in range(2))
        for one, other in zip(first, again, strict=True):  # by text: NaN equals nothing, not even itself
            require(repr(one) == repr(other), f"{one}, then {other}")


def check_better_continues_too(stopping: Stopping) -> None:
    """Check that where a worse value continues, a better one does."""
    for number, seen in enumerate(sequences(finite=True)):
        *before, (trial, epoch, value) = seen
        judged = []
        for last in (value, value * (number / N_SEQUENCES)):
            rule = rule_of(stopping)
            judgements(rule, before)
            judged.append(rule.observe(trial, epoch, last))
        worse, better = judged
        fine = worse is None or worse.verdict != CONTINUE or (better is not None and better.verdict == CONTINUE)
        require(fine, f"{worse}, but {better}")


def check_rules_share_nothing(stopping: Stopping) -> None:
    """Check that two rules of one configuration share no state: each arm has its own."""
    alone = rule_of(stopping)
    seen = [(0, epoch, 0.9) for epoch in range(1, MAX_EPOCHS)]
    expected = judgements(alone, seen)
    first, second = rule_of(stopping), rule_of(stopping)
    judgements(first, [(trial, epoch, 0.1) for trial in range(N_TRIALS) for epoch in range(1, MAX_EPOCHS)])
    judged = judgements(second, seen)
    require(repr(judged) == repr(expected), f"alone it gives {expected}, beside another rule {judged}")


def check_promotes_only_the_paused(stopping: Stopping) -> None:
    """Check that only a paused trial is promoted."""
    for seen in sequences():
        rule = rule_of(stopping)
        judged = zip(seen, judgements(rule, seen), strict=True)
        paused = {trial for (trial, _, _), each in judged if each and each.verdict == PAUSE}
        require(rule.promotable([]) is None, "a trial is promoted, but none is paused")
        promoted = rule.promotable(paused)
        require(promoted is None or promoted in paused, f"trial {promoted} is promoted; paused: {sorted(paused)}")


LAWS: tuple[Law[Stopping], ...] = (
    check_described,
    check_rungs,
    check_judges_at_rungs_only,
    check_not_finite_is_stopped,
    check_cutoff_explains_the_verdict,
    check_too_few_are_not_stopped,
    check_lone_trial_continues,
    check_function_of_the_observations,
    check_better_continues_too,
    check_rules_share_nothing,
    check_promotes_only_the_paused,
)
