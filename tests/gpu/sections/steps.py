"""The step as a CUDA graph computes the bits of the eager step, and the same bits each time."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.gpu.cases import CASES, WITHOUT_TABLE
from tests.gpu.context import NO_GPU, Context
from tests.gpu.networks import RESNET18
from tests.gpu.trials import Way, describe_difference, new_trial, noise_images, run_epochs
from trainables.trial import Trial

EPOCHS = 2
PRECISIONS = ("bf16", "fp32", "fp16", "tf32")


def run(context: Context) -> None:
    """Compare both steps for all cases on ``tiny``, then for ResNet-18 in each precision."""
    for name, sections in CASES.items():
        context.part(title(name), partial(_compare_steps, context, name, sections=sections))
    for precision in PRECISIONS:
        name = f"resnet18 in {precision}"
        compare = partial(
            _compare_steps,
            context,
            name,
            model=RESNET18,
            width=context.scale.width,
            precision=precision,
            sections={"mix": "cutmix"},
        )
        context.part(title(name), compare, needs_s=8)


def title(name: str) -> str:
    """Return the name of the row that compares both steps."""
    return f"graph = eager: {name}"


def _compare_steps(context: Context, name: str, *, precision: str = "fp32", **options: Any) -> None:
    """Run a trial by the eager step, and two by the graph; the last batch of the epoch is smaller."""
    if Way(precision=precision).needs_gpu:
        context.need_gpu()
    batch, steps = context.scale.check_batch, context.scale.check_steps
    data = noise_images(n_train=steps * batch + batch // 2, n_val=batch)

    def run_by(step: str) -> Trial:
        way = Way(step=step, precision=precision)
        return run_epochs(new_trial(data, context.device, batch=batch, way=way, **options), EPOCHS)

    eager, graph, again = run_by("eager"), run_by("auto"), run_by("auto")
    difference = describe_difference(eager.state_dict(), graph.state_dict())
    is_expected = graph.step_reason == WITHOUT_TABLE.get(name, "") and eager.step_kind == "eager"
    remark = "; ".join(filter(None, (difference, graph.step_reason)))
    if context.on_gpu or difference:
        context.check(title(name), not difference and is_expected, remark=remark)
    else:
        context.skip(title(name), NO_GPU)
    difference = describe_difference(graph.state_dict(), again.state_dict())
    context.check(f"the same bits each time: {name}", not difference, remark=difference)
