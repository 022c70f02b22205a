"""Images per second: ways to compute the product's step, a plain loop, other libraries, and a bound."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.gpu.context import Context
from tests.gpu.loops import MIXERS, Mixer, authors_cutmix, bound_rate, plain_rate
from tests.gpu.networks import RESNET18
from tests.gpu.trials import Way, measure_rate, new_trial, noise_images
from trainables.config import Model

NETWORKS = {"resnet18": RESNET18, "tiny": "tiny", "cifar_resnet20": "cifar_resnet20"}
"""Networks by their short names, the goals' first."""

WAYS = {
    "auto": Way(),
    "eager": Way(step="eager"),
    "fp16": Way(precision="fp16"),
    "fp32": Way(precision="fp32"),
    "tf32": Way(precision="tf32"),
    "fastest kernels": Way(kernels="fastest"),
    "fp16, fastest kernels": Way(precision="fp16", kernels="fastest"),
}
"""``auto`` is bf16 with reproducible kernels and the step that the product chooses."""

EPOCHS = 100_000
"""Planned epochs: more than any measurement runs."""

UNIT = "images/s"


def run(context: Context) -> None:
    """Measure what the goals need first, then the rest while there is time."""
    for network in NETWORKS:
        for way in ("auto", "eager"):
            _time_trial(context, network, way)
    for network in NETWORKS:
        _time_loops(context, network)
    for network in NETWORKS:
        for way in WAYS:
            if way not in ("auto", "eager"):
                _time_trial(context, network, way)
        for way in ("auto", "fp16, fastest kernels"):
            _time_trial(context, network, way, large=True)


def model_of(network: str, context: Context) -> Model:
    """Return the model with a short name; ResNet-18 is narrow in a tiny run."""
    return Model(name=NETWORKS[network], width=context.scale.width if network == "resnet18" else 1.0)


def _time_trial(context: Context, network: str, way: str, *, large: bool = False) -> None:
    scale, model = context.scale, model_of(network, context)
    batch = scale.large_batch if large else scale.batch
    title = f"{network}, {way}, batch {batch}"

    def measure() -> None:
        if WAYS[way].needs_gpu:
            context.need_gpu()
        trial = new_trial(
            noise_images(scale.n_train, scale.batch),
            context.device,
            model=model.name,
            width=model.width,
            batch=batch,
            max_epochs=EPOCHS,
            way=WAYS[way],
            sections={"mix": "cutmix"},
        )
        rate = measure_rate(trial, scale.window_s)
        context.info(title, rate.images_per_s, UNIT, f"{trial.step_kind} step, {rate.remark}")

    context.part(title, measure, needs_s=4 * scale.window_s)


def _time_loops(context: Context, network: str) -> None:
    """Measure loops without the product."""
    scale, model = context.scale, model_of(network, context)
    data = noise_images(scale.n_train, scale.batch)

    def measure_bound(title: str) -> None:
        rate = bound_rate(data, context.device, model=model, batch=scale.bound_batch, window_s=scale.window_s)
        context.info(title, rate.images_per_s, UNIT, rate.remark)

    def measure_plain(title: str, build: Callable[[], Mixer]) -> None:
        rate = plain_rate(
            data,
            context.device,
            model=model,
            batch=scale.batch,
            workers=8 if context.on_gpu else 1,
            window_s=scale.window_s,
            mixer=build(),
        )
        context.info(title, rate.images_per_s, UNIT, rate.remark)

    title = f"{network}, bound in the manner of airbench, batch {scale.bound_batch}"
    context.part(title, partial(measure_bound, title), needs_s=6 * scale.window_s)
    for name, build in MIXERS.items():
        if network == "resnet18" or build is authors_cutmix:  # the other libraries are compared once
            title = f"{network}, plain loop with {name}, batch {scale.batch}"
            context.part(title, partial(measure_plain, title, build), needs_s=6 * scale.window_s)
