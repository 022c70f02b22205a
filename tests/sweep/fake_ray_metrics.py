"""Stand-ins for the classes of ``ray.util.metrics``, which keep what is set and write it as Ray's port shows it."""

from __future__ import annotations

from typing import Any


class RayMetrics:
    """Module in place of ``ray.util.metrics``.

    Attributes:
        values: value by exported name and labels.
        n_set: number of calls that set or added a value.
    """

    def __init__(self) -> None:
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        self.helps: dict[str, tuple[str, str]] = {}
        self.n_set = 0

        def metric(kind: str, suffix: str) -> type:
            class Made(_Metric):
                def __init__(made, name: str, description: str = "", tag_keys: tuple[str, ...] = ()) -> None:
                    super().__init__(self, f"ray_{name}{suffix}", tag_keys)
                    self.helps[f"ray_{name}{suffix}"] = (kind, description)

            return Made

        self.Gauge, self.Counter = metric("gauge", ""), metric("counter", "_total")

    def text(self) -> str:
        """Return all values in the format that Prometheus reads."""
        lines = []
        for name, (kind, description) in self.helps.items():
            lines += [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
            for (of, labels), value in self.values.items():
                if of == name:
                    pairs = ",".join(f'{key}="{text}"' for key, text in sorted(labels))
                    lines.append(f"{name}{{{pairs}}} {value}")
        return "\n".join(lines) + "\n"


class _Metric:
    def __init__(self, module: RayMetrics, name: str, tag_keys: tuple[str, ...]) -> None:
        self._module, self._name, self._keys = module, name, tag_keys
        self._default: dict[str, str] = {}

    def set_default_tags(self, tags: dict[str, str]) -> Any:
        self._default = tags
        return self

    def _place(self, tags: dict[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
        labels = self._default | tags
        assert set(labels) == set(self._keys)
        assert all(isinstance(text, str) for text in labels.values())
        self._module.n_set += 1
        return self._name, frozenset(labels.items())

    def set(self, value: float, tags: dict[str, str]) -> None:
        self._module.values[self._place(tags)] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        place = self._place(tags)
        self._module.values[place] = self._module.values.get(place, 0.0) + value
