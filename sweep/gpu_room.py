"""Memory of a GPU that a trial needs at least, and where its images are: known without measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.study import Study
from sweep.gpus import gpu_bytes
from sweep.largest import largest_config, state_bytes
from sweep.planned import PlannedTrial
from sweep.random_trial import ImageFacts
from trainables.data.sources.base import Description
from trainables.errors import UserError
from trainables.units import format_bytes


@dataclass(frozen=True)
class GpuRoom:
    """Memory that the largest trial of an arm needs on its GPU, without feature maps.

    Attributes:
        arm: name of the arm.
        state_bytes: weights, gradients, momentum and moving average.
        image_bytes: training and validation images with their border.
        share_bytes: memory of the GPU that the trial may use; None: the GPU is not known here.

    Examples:
        >>> GpuRoom("off", 178_000_000, 216_000_000, 20_000_000_000).is_streamed
        False
    """

    arm: str
    state_bytes: int
    image_bytes: int
    share_bytes: float | None

    @property
    def is_streamed(self) -> bool | None:
        """Whether the images do not fit on the GPU and are streamed to it; None: the GPU is not known here."""
        return None if self.share_bytes is None else self.image_bytes > image_room(self.share_bytes, self.state_bytes)


def gpu_rooms(study: Study, trials: Sequence[PlannedTrial], described: Description) -> tuple[GpuRoom, ...]:
    """Return the memory that each arm needs on a GPU of this machine; nothing if trials use no GPU.

    Raises:
        UserError: a trial does not fit into its share of a GPU, whatever its feature maps need.
    """
    if not study.resources.gpus:
        return ()
    facts = ImageFacts(described.n_classes, described.height_px, described.width_px)
    total_bytes = local_gpu_bytes()
    share_bytes = None if total_bytes is None else share_of_gpu(study.resources.gpus, total_bytes)
    rooms = []
    for arm in study.arms:
        config = largest_config(study, arm, facts)
        image_bytes = max(image_bytes_of(described, trial) for trial in trials if trial.arm == arm)
        rooms.append(GpuRoom(arm, state_bytes(config, facts), image_bytes, share_bytes))
        _check_room(rooms[-1], config.model.name, study.resources.gpus, total_bytes)
    return tuple(rooms)


def describe_rooms(rooms: Sequence[GpuRoom]) -> str:
    """Return the memory that the trials of each arm need on a GPU, one line per size.

    Examples:
        >>> room = GpuRoom("off", 178_000_000, 216_000_000, 20_000_000_000)
        >>> print(describe_rooms([room]))
        GPU memory per trial: 178 MB for weights, gradients, momentum and moving average; 216 MB for images (resident).
        Feature maps come on top: `plan --measure` measures them.
    """
    arms: dict[str, list[str]] = {}
    for room in rooms:
        arms.setdefault(_describe_room(room), []).append(room.arm)
    lines = [
        f"GPU memory per trial{'' if len(arms) == 1 else ' of ' + ', '.join(names)}: {room}"
        for room, names in arms.items()
    ]
    return "\n".join([*lines, "Feature maps come on top: `plan --measure` measures them."])


def _describe_room(room: GpuRoom) -> str:
    place = {
        None: "resident if half of the memory of a trial has room for them, otherwise streamed",
        False: "resident",
        True: "they do not fit: streamed from the host",
    }
    images = f"{format_bytes(room.image_bytes)} for images ({place[room.is_streamed]})"
    if not room.image_bytes:
        images = "none for images, which the host decodes from JPEGs"
    return f"{format_bytes(room.state_bytes)} for weights, gradients, momentum and moving average; {images}."


def image_bytes_of(described: Description, trial: PlannedTrial) -> int:
    """Return the size of the images that a trial keeps on its GPU: all if it uses more than half of them.

    JPEGs stay on the host.

    Examples:
        >>> from trainables.config import TrialConfig
        >>> trial = PlannedTrial("off", TrialConfig(), 1.0, n_train=90, n_val=10)
        >>> image_bytes_of(Description(n_train=100, n_classes=10, height_px=32, width_px=32), trial)
        480000
    """
    if trial.config.data.store == "jpeg":
        return 0
    used, border_px = trial.n_train + trial.n_val, 2 * trial.config.data.pad_px
    count = described.n_train if 2 * used > described.n_train else used
    return count * (described.height_px + border_px) * (described.width_px + border_px) * 3


def image_room(share_bytes: float, state: int) -> float:
    """Return the largest memory for images in the share of a GPU that one trial has, beside the state of the trial."""
    from trainables.data.resident import RESIDENT_FRAC

    return RESIDENT_FRAC * (share_bytes - state)


def share_of_gpu(share: float, total_bytes: int) -> float:
    """Return the memory that the tensors of one trial may use on a GPU of which it has a share."""
    from trainables.gpu_memory import memory_fraction

    return memory_fraction(share, total_bytes) * total_bytes


def local_gpu_bytes() -> int | None:
    """Return the memory of the smallest GPU of this machine; None if it has none."""
    return min(gpu_bytes(), default=None)


def _check_room(room: GpuRoom, model: str, share: float, total_bytes: int | None) -> None:
    if room.share_bytes is None or room.state_bytes <= room.share_bytes:
        return
    assert total_bytes is not None
    raise UserError(
        f"arm '{room.arm}': network '{model}' needs {format_bytes(room.state_bytes)} for weights, gradients, momentum "
        f"and moving average, but resources.gpus {share:g} of a GPU with {format_bytes(total_bytes)} is "
        f"{format_bytes(room.share_bytes)}: raise resources.gpus, or choose a smaller network"
    )
