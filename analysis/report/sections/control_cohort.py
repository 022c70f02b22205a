"""The section on what early stopping did to the control cohort: absent in a study without one."""

from __future__ import annotations

from IPython.display import Markdown, display

from analysis import plots
from analysis.data.frames import Sweep
from analysis.methods.fidelity import stopping_regret
from analysis.report.show import show
from sweep.findings.summary import metric_label

_TEXT = """## What early stopping cost

Decisions over time, by rung and verdict. Control trials are never stopped: `n spared` of them would have been. `regret`
is the final value of the best control trial that the rule would have kept, minus that of the best control trial. With
several searches per arm, it is a mean over the searches. `gap` is the mean final value of spared minus kept trials,
with Welch's 95 % interval; above 0, the rule stops the right trials. Values: {metric}, as fractions or nats."""


def show_control_cohort(sweep: Sweep) -> None:
    """Show what early stopping decided and what it would have cost the control trials; nothing without such trials.

    Args:
        sweep: from :func:`analysis.data.frames.load`.
    """
    metric = sweep.manifest["study"].get("metric", "val_top1_error")
    regret = stopping_regret(sweep, metric=metric)
    if regret.empty:
        return
    display(Markdown(_TEXT.format(metric=metric_label(metric).name)))
    show(plots.timeline(plots.stopping_info(sweep.decisions)), "decisions_over_time")
    show(regret.drop(columns="metric"), "stopping_regret", intervals={"gap": ("low", "high")})
