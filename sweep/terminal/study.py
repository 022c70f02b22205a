"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from search_spaces.budget import MAX_EPOCHS
from search_spaces.domains import Choice, Fixed, Integers, LogUniform, Uniform
from search_spaces.study import Study
from sweep.doctor import OK, WARNING, WRONG, Check
from sweep.plan import Plan
from sweep.terminal.progress import duration
from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.mixing.dose import Estimate

SCALE_COLUMNS: dict[str, JustifyMethod] = {
    "--scale": "left",
    "trials": "right",
    "epochs": "right",
    "data": "left",
    "share": "right",
    "network": "left",
    "CPU": "right",
    "GPU": "right",
}
"""What is shown of a study's scales, and how it is aligned."""


def print_studies(studies: Mapping[str, Study], console: Console) -> None:
    """List studies with their size and question."""
    table = Table("study", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("arms", "trials"):
        table.add_column(name, justify="right")
    table.add_column("question")
    for name, study in studies.items():
        table.add_row(name, str(len(study.arms)), str(len(study.arms) * study.trials_per_arm), escape(study.question))
    console.print(table)


def print_study(study: Study, console: Console) -> None:
    """Show one study: question, arms, what varies, budget."""
    console.print(f"[bold]{study.name}[/bold]: {escape(study.question)}", soft_wrap=True, highlight=False)
    if study.why_open:
        console.print(study.why_open.strip(), soft_wrap=True, highlight=False, markup=False)
    table = Table("arm", "mixing", "varies", box=SIMPLE_HEAD)
    for arm, parts in study.arms.items():
        mix = parts.mix if parts.mix is not None else study.base.get("mix", "off")
        varies = [f"{path} {describe_domain(domain)}" for path, domain in study.space_of(arm).items()]
        table.add_row(arm, escape(str(mix)), escape("\n".join(varies)) or "seeds only")
    console.print(table)
    console.print(describe_budget(study), highlight=False, soft_wrap=True)


def print_scales(scales: Mapping[str, Study | UserError], console: Console) -> None:
    """Show what a study spends at each scale, or why its file does not go with one."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name, justify in SCALE_COLUMNS.items():
        table.add_column(name, justify=justify)
    for scale, study in scales.items():
        if isinstance(study, Study):
            table.add_row(scale, *_spent(study))
        else:
            console.print(f"--scale {scale}: {study}", highlight=False, markup=False, soft_wrap=True)
    console.print(table)


def _spent(study: Study) -> Iterator[str]:
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
    """Say what an arm may spend and when trials end early."""
    stopping = study.budget.early_stopping
    words = (
        f"{study.search} search, {study.trials_per_arm} trials an arm, at most {study.budget.max_epochs} epochs each, "
        f"{study.resources.cpus} CPU and {study.resources.gpus:g} GPU a trial; "
    )
    last = ""
    if study.confirm is not None:
        configs = "configuration" if study.confirm.configs == 1 else f"{study.confirm.configs} configurations"
        last = f"; then each arm's best {configs} on {study.confirm.seeds} fresh seeds, by test images"
    control = f"; control cohort {100 * study.budget.control_frac:g} %" if study.budget.control_frac else ""
    if stopping.build(study.budget.max_epochs) is None:
        return words + stopping.describe() + last
    return words + f"early stopping within each arm by {study.metric}: {stopping.describe()}{control}{last}"


def describe_domain(domain: Any) -> str:
    """Describe a domain in a few characters: ``0.1 .. 4 (log)``."""
    match domain:
        case LogUniform(lo=lo, hi=hi):
            return f"{lo:g} .. {hi:g} (log)"
        case Uniform(lo=lo, hi=hi) | Integers(lo=lo, hi=hi):
            return f"{lo:g} .. {hi:g}"
        case Choice(values=values):
            return " | ".join(str(value) for value in values)
        case Fixed(value=value):
            return f"= {value}"
    raise AssertionError(domain)


def print_plan(study: Study, plan: Plan, console: Console) -> None:
    """Show what a study would run and how long it would take here."""
    print_study(study, console)
    confirming = f" and {plan.n_confirming} that confirm winners" if plan.n_confirming else ""
    console.print(
        f"{study.base.get('data', {}).get('source', 'digits')}: {_span(plan.n_train)} training and {_span(plan.n_val)} "
        f"validation images of {plan.height_px}x{plan.width_px} px\n"
        f"{plan.n_trials} trials{confirming}, at most {plan.max_epochs} epochs; one trial trains "
        f"{_span(plan.images_per_s)} images a second here, {plan.slots} at a time: at most about "
        f"{duration(plan.seconds)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    _print_doses(study, plan, console)


def _span(extremes: tuple[float, float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:,.0f}" for value in extremes))


def _print_doses(study: Study, plan: Plan, console: Console) -> None:
    """Show how strongly each arm mixes, and which arms were made alike; 80 columns hold every number."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("arm", overflow="fold")
    for name in ("mean\nprob", "pasted\narea", "exposure", "label\nentropy", "pastes\nnothing", "border\npx"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("centre, edge,\ncorner", justify="right", no_wrap=True)
    for arm, dose in plan.doses.items():
        regions = (dose.coverage_centre, dose.coverage_edge, dose.coverage_corner)
        table.add_row(
            f"={arm}" if arm in plan.matched else arm,
            f"{dose.mean_prob:.2f}",
            _with_error(dose.pasted_frac),
            _with_error(dose.exposure),
            f"{dose.label_entropy.value:.3f}",
            f"{100 * dose.nothing_pasted.value:.1f} %",
            f"{dose.boundary_px.value:.0f}",
            " ".join(f"{region.value:.2f}" for region in regions),
        )
    console.print(table)
    console.print(_describe_dose(study, plan), highlight=False, markup=False, soft_wrap=True)


def _describe_dose(study: Study, plan: Plan) -> str:
    words = (
        "Dose by Monte Carlo (standard error of the last digits in brackets). Area, exposure E[min(w, 1 - w)] and "
        "entropy are means over all samples of a run; the rest is of mixed ones, the last column how often pixels of "
        "the centre, the edges' middles and the corners are foreign. Of an arm whose mixing varies it is the mean over "
        "its first draws; inside the network it is measured on images."
    )
    if study.match is None:
        return words
    alone = [arm for arm in study.arms if arm not in plan.matched]
    matched = f"\n= matched: equal exposure by {study.match.by}"
    return words + matched + (f"; as declared: {', '.join(alone)}" if alone else "")


def _with_error(figure: Estimate) -> str:
    return f"{figure.value:.4f}({round(figure.se * 1e4)})"


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """Show what the doctor found."""
    table = Table("", "state", "found", "how to mend", box=SIMPLE_HEAD)
    colours = {OK: "green", WARNING: "yellow", WRONG: "red"}
    for check in checks:
        table.add_row(check.name, f"[{colours[check.state]}]{check.state}[/]", escape(check.found), escape(check.fix))
    console.print(table)
