"""Names by which a person finds the workers of a sweep in the Ray dashboard."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

_NUMBERS = itertools.count(1)  # a name must be new in the process: a worker of the same name may still be ending


@contextlib.contextmanager
def named_workers(sweep: str) -> Iterator[None]:
    """Name the workers that Tune starts inside this context ``cutmix-sweep:SWEEP:worker-1`` and so on.

    Tune itself gives them no name.
    """
    from ray.tune.execution import class_cache

    get = class_cache._ActorClassCache.get

    def get_named(cache: Any, trainable: type) -> Any:
        actor_class = get(cache, trainable)
        if "options" not in vars(actor_class):
            options = actor_class.options

            def options_with_name(**given: Any) -> Any:
                return options(name=worker_name(sweep, next(_NUMBERS)), **given)

            actor_class.options = options_with_name
        return actor_class

    class_cache._ActorClassCache.get = get_named
    try:
        yield
    finally:
        class_cache._ActorClassCache.get = get


def worker_name(sweep: str, number: int) -> str:
    """Return the name of a worker.

    Examples:
        >>> worker_name("box", 3)
        'cutmix-sweep:box:worker-3'
    """
    return f"cutmix-sweep:{sweep}:worker-{number}"
