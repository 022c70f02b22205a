"""Mixing in one's own training loop: a callable on images and labels."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from trainables.errors import UserError
from trainables.mixing.apply import mix_images, mix_targets
from trainables.mixing.batch_view import BatchView, MapKind
from trainables.mixing.config import Mix
from trainables.mixing.draw import draw_mix
from trainables.mixing.pastes import MixDraw
from trainables.mixing.schedule import Trapezoid
from trainables.seeds import generator
from trainables.strict import parse


class Mixer:
    """Mix batches of images and labels by any policy, in a training loop or in the ``collate_fn`` of a DataLoader.

    The draw for a batch depends on ``seed`` and on the step, the number of batches mixed before it, and on nothing
    else: there is no global randomness, and the state is one number. CPU and GPU draw the same masks. Give normalised
    images: content ``zero`` and ``noise``, and saliency, refer to normalised pixels.

    Pairing by class waits for the GPU at each batch if the labels are there. No other policy waits for the GPU.

    Attributes:
        mix: the policy.
        n_classes: number of classes; the targets have as many columns.
        n_steps: planned steps, for a policy with a schedule; after them the schedule keeps its last value.
        last_draw: draw of the last batch (``lam``, ``partner``, ``applied``, ``weight``); None before the first batch.

    Examples:
        In a training loop:

        >>> images, labels = torch.zeros(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> mixer = Mixer("cutmix", n_classes=3, seed=0)
        >>> mixed, targets = mixer(images, labels)
        >>> mixed.shape, targets.shape, targets.dtype
        (torch.Size([6, 3, 32, 32]), torch.Size([6, 3]), torch.float32)
        >>> mixer.last_draw.applied.tolist()
        [False, True, True, False, True, False]

        In the worker processes of a DataLoader:

        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> loader = DataLoader(TensorDataset(images, labels), batch_size=4, collate_fn=mixer.collate)
        >>> [targets.shape for _, targets in loader]
        [torch.Size([4, 3]), torch.Size([2, 3])]

        In place of ``torchvision.transforms.v2.CutMix(num_classes=3)`` or ``timm.data.Mixup(num_classes=3)``:

        >>> for policy in ("torchvision_cutmix", {"preset": "timm_elem", "label": {"smoothing": 0.1}}):
        ...     mixed, targets = Mixer(policy, n_classes=3)(images, labels)
    """

    def __init__(
        self, policy: str | Mapping[str, Any] | Mix, *, n_classes: int, seed: int = 0, n_steps: int | None = None
    ) -> None:
        """Prepare to mix.

        Args:
            policy: a preset's name, the parts of a policy as in a study file, or a ``Mix``.
            n_classes: number of classes.
            seed: the only source of randomness; give each process of a distributed run its own seed.
            n_steps: planned steps of the whole run; only a policy with ``apply.schedule`` uses it.

        Raises:
            UserError: the policy is unknown, makes no sense, or mixes inside a network.
            TypeError: an argument is of another type.
            ValueError: ``n_classes`` or ``n_steps`` is less than 1.
        """
        self.mix = _policy(policy)
        self.n_classes = _integer("n_classes", n_classes, least=1)
        self.n_steps = None if n_steps is None else _integer("n_steps", n_steps, least=1)
        self.last_draw: MixDraw | None = None
        self._seed = _integer("seed", seed)
        self._step = 0
        self._step_is_set = False
        self._worker_calls = 0
        self._has_schedule = any(policy.apply.schedule != Trapezoid() for policy in self.mix.policies)
        self._pairs_by_class = any(policy.pairing.kind.endswith("_class") for policy in self.mix.policies)

    @property
    def step(self) -> int:
        """Number of batches that are mixed in this process, or the number that :meth:`set_step` has set."""
        return self._step

    def set_step(self, step: int) -> None:
        """Set the number of batches that are mixed, for example ``epoch * len(loader)`` before each epoch.

        This is needed only for worker processes, see :meth:`collate`.
        """
        self._step = _integer("step", step, least=0)
        self._step_is_set = True

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        boxes: Tensor | np.ndarray | None = None,
        maps: Tensor | Callable[[MapKind], Tensor] | None = None,
        t: float | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return mixed images and target distributions, float32 [B, n_classes], both on the device of the images.

        The arguments are not changed. If no image of the batch is mixed, ``images`` itself is returned.

        Args:
            images: floating point or uint8 [B, C, H, W].
            labels: classes, int64 [B], on the CPU or on the device of the images. Their range is checked on the CPU.
            boxes: each object's (y0, x0, y1, x1) in half-open pixels, integers [B, 4] on the CPU, for policies that
                need boxes.
            maps: maps of your network for these images before mixing, floating point [B, h, w] of any h and w on their
                device, for policies that need maps; or a function that returns them for a kind, ``cam``,
                ``attention`` or ``gradient``. :func:`trainables.net_maps.net_maps` computes each of them for a
                :class:`~trainables.networks.modules.staged.StagedNet`.
            t: fraction of the planned steps that is done, for the schedule; by default from ``n_steps``.
            out: other memory for mixed images, with the shape, type and memory layout of ``images``; it may be written
                and returned. It saves the allocation, which takes most of the time for large batches on the CPU.

        Raises:
            TypeError: images or labels are of another type.
            ValueError: shapes do not fit, a label is not a class, ``out`` is the memory of ``images``, or the policy
                needs boxes, maps, ``n_steps`` or ``t``.

        Examples:
            >>> mixer = Mixer({"preset": "mixup", "size": {"kind": "fixed"}, "pairing": {"kind": "flip"}}, n_classes=2)
            >>> images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8)  # a black and a white image
            >>> mixed, targets = mixer(images, torch.tensor([0, 1]))
            >>> mixed.mean(dim=(1, 2, 3)).tolist(), targets.tolist()
            ([0.25, 0.75], [[0.75, 0.25], [0.25, 0.75]])
        """
        _check_batch(images, labels, self.n_classes)
        if out is not None and out.data_ptr() == images.data_ptr():
            raise ValueError("out must be other memory than images: partners are read while mixed images are written")
        self.last_draw = None  # its memory serves the next draw
        step, stream = self._position()
        count, channels, height_px, width_px = images.shape
        classes = self._classes_on_host(labels)
        objects, seen = self._boxes_on_host(boxes, count), self._maps_of(maps, images)
        batch = BatchView((count, channels, height_px, width_px), classes, images, objects, seen)
        rng = generator(self._seed, "mixer", *stream, step)
        with _without_autocast(images.device):  # a mask must not depend on the precision
            draw = draw_mix(self.mix, batch, rng=rng, device=images.device, t=self._t(step, t))
            mixed = mix_images(images, draw, out=out)
            labels = labels.to(images.device, non_blocking=True)
            targets = mix_targets(labels, draw, n_classes=self.n_classes, smoothing=self.mix.label.smoothing)
        # only now: a batch that is refused must not count
        self.last_draw = draw
        if get_worker_info() is None:
            self._step += 1
        else:
            self._worker_calls += 1
        return mixed, targets

    def collate(self, samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Collate samples by torch's ``default_collate`` and mix them: a ``collate_fn`` for a DataLoader.

        Worker processes cannot count the batches of earlier epochs. So the draw for a batch depends on ``seed``, on
        the number of the batch within the epoch, and on the loader's own random numbers, as the order of the images
        does: give the loader a seeded ``generator`` to repeat a run. The number of workers has no influence.

        After ``set_step(epoch * len(loader))`` before each epoch, the draw depends on ``seed`` and the step alone, and
        equals that of ``num_workers=0``. A schedule needs this. Persistent workers do not receive a later step: they
        continue to count, and from the second epoch on the draws depend on the number of workers.

        Args:
            samples: (image, label) or (image, label, box) per sample, box an int64 tensor [4].

        Examples:
            >>> samples = [(torch.zeros(3, 8, 8), 0), (torch.ones(3, 8, 8), 1)]
            >>> images, targets = Mixer("mixup", n_classes=2).collate(samples)
            >>> torch.allclose(images.mean(dim=(1, 2, 3)), targets[:, 1])
            True
        """
        parts = default_collate(list(samples))
        if not isinstance(parts, (list, tuple)) or len(parts) not in (2, 3):
            form = f"{type(samples[0]).__name__} with {sorted(parts)}" if isinstance(parts, dict) else repr(samples[0])
            raise TypeError(f"a sample must be (image, label) or (image, label, box), got {form[:200]}")
        images, labels, *boxes = parts
        return self(images, labels, boxes=boxes[0] if boxes else None)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, in types that JSON and ``torch.load`` read without running code.

        Examples:
            >>> images, labels = torch.arange(768.0).view(4, 3, 8, 8), torch.arange(4)
            >>> mixer, resumed = (Mixer("cutmix", n_classes=4, seed=seed) for seed in (1, 2))
            >>> _ = mixer(images, labels)
            >>> resumed.load_state_dict(mixer.state_dict())
            >>> all(torch.equal(one, two) for one, two in zip(mixer(images, labels), resumed(images, labels)))
            True
        """
        policy = self.mix.model_dump(mode="json")
        return {"policy": policy, "n_classes": self.n_classes, "seed": self._seed, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the seed and the step of a mixer with the same policy and number of classes.

        Raises:
            ValueError: the state is that of another policy or number of classes.
        """
        saved = parse(Mix, state["policy"], where="saved policy")
        differing = [name for name in Mix.model_fields if getattr(saved, name) != getattr(self.mix, name)]
        if differing:
            name = differing[0]
            values = f"{getattr(saved, name)!r}, this mixer has {getattr(self.mix, name)!r}"
            raise ValueError(f"the saved state has another policy: '{name}' is {values}")
        if state["n_classes"] != self.n_classes:
            raise ValueError(f"the saved state has n_classes {state['n_classes']}, this mixer has {self.n_classes}")
        self._seed, self._step = _integer("seed", state["seed"]), _integer("step", state["step"], least=0)

    def _position(self) -> tuple[int, tuple[int, ...]]:
        """Return the step of the next batch, and what its draw depends on besides the seed and the step.

        A DataLoader gives batch i of an epoch to worker i modulo the number of workers.
        """
        worker = get_worker_info()
        if worker is None:
            return self._step, ()
        step = self._step + worker.id + worker.num_workers * self._worker_calls
        # without the loader's own seed, drawn for each epoch, all epochs would have the same draws
        return step, () if self._step_is_set else (worker.seed - worker.id,)

    def _t(self, step: int, t: float | None) -> float:
        if t is not None:
            if not 0 <= t <= 1:
                raise ValueError(f"t must be from 0 to 1, the fraction of the planned steps that is done, got {t}")
            return t
        if not self._has_schedule:
            return 0.0
        if self.n_steps is None:
            raise ValueError(
                "the policy has apply.schedule, which needs the planned steps: pass Mixer(..., n_steps=...), or the "
                "fraction of them that is done, mixer(images, labels, t=...)"
            )
        if get_worker_info() is not None and not self._step_is_set:
            raise ValueError(
                "the policy has apply.schedule, but a worker process does not know the epoch: call "
                "mixer.set_step(epoch * len(loader)) before each epoch"
            )
        return min(step / self.n_steps, 1.0)

    def _classes_on_host(self, labels: Tensor) -> np.ndarray:
        """Return the labels for the pairing; if no pairing reads them, a GPU is not asked for them."""
        if labels.device.type != "cpu" and not self._pairs_by_class:
            return np.zeros(len(labels), dtype=np.int64)
        classes: np.ndarray = labels.cpu().numpy()
        return classes

    def _maps_of(
        self, maps: Tensor | Callable[[MapKind], Tensor] | None, images: Tensor
    ) -> Callable[[MapKind], Tensor] | None:
        """Return what gives the maps of a kind, checked."""
        kinds = sorted(self.mix.map_kinds)
        if not kinds:
            return None
        if maps is None:
            raise ValueError(
                f"the policy needs maps of the network ({' and '.join(kinds)}): pass mixer(images, labels, maps=...)"
            )
        if isinstance(maps, Tensor) and len(kinds) > 1:
            raise ValueError(
                f"the policy needs maps of {len(kinds)} kinds ({' and '.join(kinds)}), got one tensor: pass a function "
                "that returns the maps of a kind"
            )

        def seen(kind: MapKind) -> Tensor:
            values = maps if isinstance(maps, Tensor) else maps(kind)
            if values.ndim != 3 or len(values) != len(images) or not values.is_floating_point():
                raise ValueError(
                    f"maps must be floating point [{len(images)}, h, w], got {values.dtype} {list(values.shape)}"
                )
            return values.detach().float()

        return seen

    def _boxes_on_host(self, boxes: Tensor | np.ndarray | None, count: int) -> np.ndarray | None:
        if boxes is None:
            if "boxes" in self.mix.needs:
                raise ValueError("the policy needs the objects' boxes: pass mixer(images, labels, boxes=...)")
            return None
        values = boxes.cpu().numpy() if isinstance(boxes, Tensor) else np.asarray(boxes)
        if values.dtype.kind not in "iu":
            raise TypeError(f"boxes must be integers [B, 4], got {values.dtype}")
        if values.shape != (count, 4):
            raise ValueError(f"boxes must have the shape ({count}, 4), got {values.shape}")
        return values.astype(np.int64)


def _policy(policy: str | Mapping[str, Any] | Mix) -> Mix:
    if not isinstance(policy, (str, Mapping, Mix)):
        raise TypeError(f"policy must be a preset's name, the parts of a policy or a Mix, got {policy!r}")
    values = {"preset": policy} if isinstance(policy, str) else policy
    mix = values if isinstance(values, Mix) else parse(Mix, values, where="Mixer")
    if max(mix.layers) > 0:
        layer = mix.layer if isinstance(mix.layer, int) else list(mix.layer)
        raise UserError(
            f"Mixer: layer is {layer}, but a mixer has only the images, and layers > 0 are maps inside a network: set "
            "layer to 0, for example {'preset': 'manifold_mixup', 'layer': 0}"
        )
    return mix


def _integer(name: str, value: int, *, least: int | None = None) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}")
    return number


def _check_batch(images: Tensor, labels: Tensor, n_classes: int) -> None:
    for name, value in {"images": images, "labels": labels}.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not images.is_floating_point() and images.dtype != torch.uint8:
        raise TypeError(f"images must be floating point or uint8, got {images.dtype}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be classes, int64 [B], got {labels.dtype} {list(labels.shape)}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must have the shape [B, C, H, W], got {list(images.shape)}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels must have the shape [{len(images)}], got {list(labels.shape)}")
    if labels.device.type != "cpu":
        if labels.device != images.device:
            raise ValueError(f"labels are on {labels.device}, but images are on {images.device}")
        return  # their range is not checked: it would wait for the GPU
    classes = labels.numpy()
    lowest, highest = int(classes.min()), int(classes.max())
    if lowest < 0 or highest >= n_classes:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"labels must be from 0 to {n_classes - 1} for n_classes {n_classes}, got {wrong}")


def _without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    available = torch.amp.autocast_mode.is_autocast_available(device.type)
    # only where there is something to switch off: the context takes a tenth of the time of a small batch
    enabled = available and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if enabled else contextlib.nullcontext()
