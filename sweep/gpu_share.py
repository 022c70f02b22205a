"""How many trials share a GPU, where a study leaves this to a measurement on the machine that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.resources import AUTO
from search_spaces.study import Study
from sweep.display import Display
from sweep.endings import reason_of
from sweep.slots import NODE_LABEL
from trainables.errors import UserError

if TYPE_CHECKING:
    from sweep.probe import ProbeResult

Measure = Callable[[Study], "ProbeResult"]
"""Function that measures the speed of several trials on one GPU."""


def with_measured_share(study: Study, display: Display, measure: Measure) -> Study:
    """Return a study whose number of trials per GPU is known: it is measured if the study asks for that.

    Args:
        study: the study that is run.
        display: shows the progress and the result.
        measure: measures the speed, for example on a node of the cluster.

    Raises:
        UserError: it cannot be measured.
    """
    if study.resources.trials_per_gpu != AUTO:
        return study
    with display.show_status("measuring how many trials should share a GPU"):
        number = measure(study).trials_per_gpu
    display.show_line(f"trials_per_gpu: {number} (measured: the smallest number within 5 % of the best speed)")
    return study.model_copy(update={"resources": study.resources.with_trials_per_gpu(number)})


def measure_on_node(study: Study, *, unfit: Sequence[str] = (), timeout_s: float | None = None) -> ProbeResult:
    """Measure on a GPU of the Ray that this process has joined.

    The processes of the measurement are those of one task, which has a whole GPU. So this process does not start CUDA.

    Args:
        study: the study that is run.
        unfit: ids of nodes that cannot run trials.
        timeout_s: longest wait for the result, seconds; None: without a limit.

    Raises:
        UserError: no node has a free GPU in time, or the measurement has failed.
    """
    import ray

    from sweep.probe import probe

    timeout_s = None if timeout_s == float("inf") else timeout_s
    options: dict[str, Any] = {"num_cpus": study.resources.cpus, "num_gpus": 1, "max_retries": 0}
    if unfit:
        options["label_selector"] = {NODE_LABEL: f"!in({','.join(unfit)})"}
    try:
        result: ProbeResult = ray.get(ray.remote(**options)(probe).remote(study), timeout=timeout_s)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise UserError(
            f"resources.trials_per_gpu is auto, but it cannot be measured: {reason_of(cause)}; set a number instead"
        ) from None
    return result
