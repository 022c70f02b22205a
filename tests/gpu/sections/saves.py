"""A trial that is saved and resumed equals the uninterrupted one, with either step; what a checkpoint costs."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.gpu.cases import CASES
from tests.gpu.context import Context
from tests.gpu.trials import Way, describe_difference, new_trial, noise_images, run_epochs, saved_state
from trainables.trial import Trial

EPOCHS = 4
EVERYTHING: dict[str, Any] = {
    "mix": {
        "preset": "cutmix",
        "layer": [0, 1, 2],
        "apply": {"prob": 0.9, "schedule": {"ramp_up_end": 0.5}},
        "alternate": {"gate": "sample", "mix": {"preset": "mixup", "layer": [0, 1, 2]}},
    },
    "model": {"dropblock": {"prob": 0.3, "block_px": 3}},
    "optimizer": {"ema_decay": 0.9},
}
"""Two policies that alternate, at drawn layers, under a schedule, with DropBlock and a moving average."""

RESUMED: dict[str, dict[str, Any]] = {
    "cutmix": CASES["cutmix"],
    "cutmix, FGSM": CASES["cutmix, FGSM"],
    "everything": EVERYTHING,
}


def run(context: Context) -> None:
    """Resume with both steps from states of both steps."""
    for name, sections in RESUMED.items():
        for before, after in (("eager", "auto"), ("auto", "eager"), ("auto", "auto")):
            title = f"resumed = uninterrupted: {name}, {before} then {after}"
            context.part(title, partial(_compare_resumed, context, title, sections, before, after))


def _compare_resumed(context: Context, title: str, sections: dict[str, Any], before: str, after: str) -> None:
    difference = _difference_after_resume(context, sections, before, after)
    context.check(title, not difference, remark=difference)


def _difference_after_resume(context: Context, sections: dict[str, Any], before: str, after: str) -> str:
    """Compare the trial with one that is saved after half of its epochs and resumed by the other step."""
    batch, steps = context.scale.check_batch, context.scale.check_steps
    data = noise_images(n_train=steps * batch + batch // 2, n_val=batch)

    def begin(step: str) -> Trial:
        way = Way(step=step, precision="fp32")
        return new_trial(data, context.device, batch=batch, max_epochs=EPOCHS, way=way, sections=sections)

    whole = run_epochs(begin(before), EPOCHS)
    resumed = begin(after)
    resumed.load_state_dict(saved_state(run_epochs(begin(before), EPOCHS // 2)))
    run_epochs(resumed, EPOCHS - EPOCHS // 2)
    return describe_difference(whole.state_dict(), resumed.state_dict())
