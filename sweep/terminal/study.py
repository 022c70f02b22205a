"""Studies, plans and checks, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod

from search_spaces.arm import Point
from search_spaces.budget import MAX_EPOCHS, Confirm
from search_spaces.study import Study
from sweep.doctor import OK, WARNING, WRONG, Check
from sweep.formats import format_duration
from sweep.gpu_room import describe_rooms
from sweep.network_sizes import describe_flops
from sweep.plan import Plan
from sweep.power import Power, compute_power
from sweep.preview import describe_mix
from sweep.search import STARTUP_TRIALS
from sweep.terminal.domain import describe_domain
from sweep.terminal.measured import print_measured
from sweep.terminal.tables import add_column, add_row, new_table, plain, print_heading, print_line, print_table
from sweep.terminal.training_line import describe_training
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.mixing.estimates import Estimate

SCALE_COLUMNS: dict[str, JustifyMethod] = {
    "--scale": "left",
    "trials": "right",
    "epochs": "right",
    "data": "left",
    "fraction": "right",
    "network": "left",
    "CPU": "right",
    "GPU": "right",
}
"""Columns of the table of scales, with their alignment."""

NETWORKS_SHOWN = 4
"""Largest number of networks whose sizes a plan shows; of more, it shows the first and the largest."""

COLOURS = {OK: "green", WARNING: "yellow", WRONG: "red"}
"""Colour of each state of a check."""


def print_studies(studies: Mapping[str, Study], console: Console) -> None:
    """Print one row per study: its number of arms and trials, and its question."""
    table = new_table()
    add_column(table, "study", justify="left")
    for heading in ("arms", "trials"):
        add_column(table, heading)
    add_column(table, "question", justify="left", wrap=True)
    for name, study in studies.items():
        n_arms = len(study.arms)
        add_row(table, [name, str(n_arms), str(n_arms * study.trials_per_arm), study.question])
    print_table(console, table)


def print_study(study: Study, console: Console, power: Power | None = None) -> None:
    """Print one study: its question, its arms, the parameters that vary, its budget and what it can detect.

    Without ``power``, a typical SD is assumed.
    """
    print_heading(console, study.name, study.question)
    if study.why_open:
        print_line(console, study.why_open.strip())
    table = new_table()
    add_column(table, "arm", justify="left")
    changes = {arm: "\n".join(_describe_changes(study, arm)) or "none" for arm in study.arms}
    columns = {"augment": changes} if len(set(changes.values())) > 1 else {}
    columns["mixing"] = {arm: _describe_mixing(study, arm) for arm in study.arms}
    columns["varies"] = {
        arm: "\n".join(f"{path} {describe_domain(domain)}" for path, domain in study.space_of(arm).items())
        or "seeds only"
        for arm in study.arms
    }
    for heading in columns:
        add_column(table, heading, justify="left", wrap=True)
    for arm in study.arms:
        add_row(table, [arm, *(cells[arm] for cells in columns.values())])
    print_table(console, table)
    if "augment" not in columns and (same := next(iter(changes.values()))) != "none":
        print_line(console, f"Augment, in every arm: {same.replace(chr(10), '; ')}.")
    print_line(console, describe_budget(study))
    print_line(console, (power or compute_power(study)).describe())


def _describe_mixing(study: Study, arm: str) -> str:
    """Return the name of the arm's preset, or its policy in words."""
    declared = study.arms[arm].mix if study.arms[arm].mix is not None else study.base.get("mix", "off")
    return declared if isinstance(declared, str) else ", ".join(describe_mix(_config_of(study, arm).mix))


def _describe_changes(study: Study, arm: str) -> tuple[str, ...]:
    """Return the changes of images of an arm, without the values that vary."""
    varying = [path.removeprefix("augment.") for path in study.space_of(arm) if path.startswith("augment.")]
    return _config_of(study, arm).augment.describe(varying)


def _config_of(study: Study, arm: str) -> TrialConfig:
    """Return an arm's configuration without the values that vary, or its first draw if it needs these values."""
    try:
        return study.declared_config(arm, {}, replicate=0)
    except UserError:
        return study.declared_config(arm, study.draw(arm, 0), replicate=0)


def print_scales(scales: Mapping[str, Study | UserError], console: Console) -> None:
    """Print the cost of a study at each scale, or the reason why its file does not allow a scale."""
    table = new_table()
    for name, justify in SCALE_COLUMNS.items():
        add_column(table, name, justify=justify)
    for scale, study in scales.items():
        if isinstance(study, Study):
            add_row(table, [scale, *_cost(study)])
        else:
            print_line(console, f"--scale {scale}: {study}")
    print_table(console, table)


def _cost(study: Study) -> Iterator[str]:
    arm = next(iter(study.arms))
    config = study.declared_config(arm, study.draw(arm, 0), replicate=0)
    yield str(len(study.arms) * study.trials_per_arm)
    values = {MAX_EPOCHS: study.budget.max_epochs, "data.source": config.data.source}
    values |= {"data.train_frac": config.data.train_frac, "model.name": config.model.name}
    for path, value in values.items():
        yield describe_domain(study.space[path]).replace(" | ", "\n") if path in study.space else str(value)
    yield f"{study.resources.cpus}"
    yield f"{study.resources.gpus:g}"


def describe_budget(study: Study) -> str:
    """Return what each arm may spend, when a trial may end early, and what is confirmed: one line each."""
    resources, budget = study.resources, study.budget
    control = f"; control cohort: {100 * budget.control_frac:g} % of the trials" if budget.control_frac else ""
    within = "search" if study.n_searches > 1 else "arm"
    lines = [
        f"Budget: {study.search} search, {_describe_trials(study.trials_per_arm)} per arm, at most {budget.max_epochs} "
        f"epochs per trial; {resources.describe()} per trial.",
        f"Stopping: {budget.early_stopping.describe()}{control}. "
        f"Trials are compared within their {within}, by {study.metric}.",
        *(f"Known point of {arm}: {_describe_point(point)}." for arm, point in _points(study)),
    ]
    if study.search == "tpe" and study.trials_per_search <= STARTUP_TRIALS:
        lines.append(
            f"Sampler: tpe draws the first {STARTUP_TRIALS} trials of each search at random, so it uses no result here."
        )
    if study.confirm is not None:
        lines.append(_describe_confirm(study, study.confirm))
    if limits := budget.limits.describe():
        lines.append(f"Limits: the sweep ends {limits}, and can then be resumed.")
    return "\n".join(lines)


def _describe_confirm(study: Study, confirm: Confirm) -> str:
    seeds = "1 fresh seed" if confirm.seeds == 1 else f"{confirm.seeds} fresh seeds"
    trials, one = _describe_trials(study.trials_per_search), confirm.configs == 1
    winners = "the best configuration" if one else f"the {confirm.configs} best configurations"
    trained = f"{'is' if one else 'are'} trained again on {seeds} and measured on test images."
    if confirm.searches > 1:
        size = f"{confirm.searches} searches of {trials} per arm"
        return f"Confirmation: {size}; {winners} of each search {trained}"
    if not any(map(study.is_searched, study.arms)):
        return f"Confirmation: each arm is trained again on {seeds} and measured on test images."
    return f"Confirmation: 1 search of {trials} per arm; {winners} of each arm {trained}"


def _describe_trials(number: int) -> str:
    return "1 trial" if number == 1 else f"{number} trials"


def _points(study: Study) -> Iterator[tuple[str, Point]]:
    yield from (("every arm", point) for point in study.points)
    yield from ((arm, point) for arm in study.arms for point in study.arms[arm].points)


def _describe_point(point: Point) -> str:
    return ", ".join(f"{path} {value}" for path, value in point.items())


def print_plan(
    study: Study, plan: Plan, console: Console, power: Power | None = None, price_per_gpu_hour: float | None = None
) -> None:
    """Print what a study would run and could detect, and how long it would take on this machine."""
    print_study(study, console, power)
    confirming = f" and {plan.n_confirming} confirmation trials" if plan.n_confirming else ""
    print_line(
        console,
        f"Data: {study.base.get('data', {}).get('source', 'digits')}, {_format_range(plan.n_train)} training and "
        f"{_format_range(plan.n_val)} validation images of {plan.height_px}x{plan.width_px} px.\n"
        f"{_describe_networks(plan)}\n{describe_training(study)}\n"
        f"Size: {plan.n_trials} search trials{confirming}, at most {plan.max_epochs} epochs in total; "
        f"{describe_flops(plan.train_flops)} per trial for training.\n"
        f"{_describe_time(plan)}",
    )
    for disk in plan.disk:
        print_line(console, disk.describe())
    if plan.rooms:
        print_line(console, describe_rooms(plan.rooms))
    if plan.measured is not None:
        print_measured(plan.measured, console, price_per_gpu_hour)
    _print_doses(study, plan, console)
    if power is not None and (effect := power.describe_effect()):
        print_line(console, effect)


def _describe_networks(plan: Plan) -> str:
    """Return the sizes of the networks; of many, those of the first and of the largest."""
    networks, more = list(plan.networks), ""
    if len(networks) > NETWORKS_SHOWN:
        largest = max(networks, key=lambda network: network.multiply_adds)
        networks, more = list(dict.fromkeys([networks[0], largest])), f"; {len(plan.networks)} networks in all"
    return f"Network: {'; '.join(network.describe() for network in networks)}{more}."


def _describe_time(plan: Plan) -> str:
    if plan.images_per_s is None or plan.seconds is None:
        return f"Time: unknown, because {plan.no_time}"
    return (
        f"Time on this machine: at most about {format_duration(plan.seconds)}, with {plan.slots} trials at a time and "
        f"{_format_range(plan.images_per_s)} training images per second and trial."
    )


def _format_range(extremes: tuple[float, float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:,.0f}" for value in extremes))


def _print_doses(study: Study, plan: Plan, console: Console) -> None:
    """Print how strongly each arm mixes, and which arms have a matched dose."""
    names = {arm: f"={arm}" if arm in plan.matched else arm for arm in plan.doses}
    table = new_table()
    add_column(table, "arm", justify="left")
    for heading in ("mean\nprob", "pasted\narea", "exposure", "label\nentropy", "pastes\nnothing", "border\npx"):
        add_column(table, heading)
    add_column(table, "centre, edge,\ncorner")
    for arm, dose in plan.doses.items():
        regions = (dose.coverage_centre, dose.coverage_edge, dose.coverage_corner)
        cells = [
            names[arm],
            f"{dose.mean_prob:.2f}",
            _format_estimate(dose.pasted_frac),
            _format_estimate(dose.exposure),
            f"{dose.label_entropy.value:.3f}",
            f"{100 * dose.nothing_pasted.value:.1f} %",
            f"{dose.boundary_px.value:.0f}",
            " ".join(f"{region.value:.2f}" for region in regions),
        ]
        add_row(table, cells)
    print_table(console, table)
    print_line(console, _describe_dose(study, plan))


def _describe_dose(study: Study, plan: Plan) -> str:
    sentences = (
        "Dose, estimated by Monte Carlo; in brackets: standard error in units of the last digit. "
        "Area, exposure E[1 - max w] and entropy: means over all samples of a run. "
        "Other columns: mixed samples only. "
        "Last column: probability that a pixel at the centre, edge or corner is the partner's.\n"
        "If the mixing of an arm varies, its dose is the mean over its first draws. "
        "The dose of mixing inside the network is measured on images."
    )
    if looking := [arm for arm in study.arms if any(config.mix.map_kinds for config in study.extremes(arm))]:
        arms = ", ".join(looking)
        sentences += f" The saliency of the images replaces maps of the network, which is not trained yet: {arms}."
    if study.match is None:
        return sentences
    unmatched = [arm for arm in study.arms if arm not in plan.matched]
    as_declared = f" As declared: {', '.join(unmatched)}." if unmatched else ""
    return f"{sentences}\n= matched: equal exposure by {study.match.by}.{as_declared}"


def _format_estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.4f}({round(estimate.se * 1e4)})"


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """Print one row per check: its state, the facts, and how to fix a problem."""
    table = new_table()
    add_column(table, "check", justify="left")
    add_column(table, "state", justify="left")
    fixes = any(check.fix for check in checks)
    for heading in ("result", *(["how to fix"] if fixes else [])):
        add_column(table, heading, justify="left", wrap=True)
    for check in checks:
        state = plain(check.state, style=COLOURS[check.state])
        table.add_row(plain(check.name), state, plain(check.found), *([plain(check.fix)] if fixes else []))
    print_table(console, table)
