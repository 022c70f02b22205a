"""Size of the networks of a study: parameters, and operations per image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainables.config import Model
from trainables.data.sources.base import Description


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network.

    Attributes:
        name: ``model.name``.
        width: ``model.width``.
        last_stride: ``model.last_stride``.
        n_parameters: number of trained parameters.
        multiply_adds: multiply-adds of a forward pass of one image, half of the operations that the axis ``cost``
            reports.
    """

    name: str
    width: float
    last_stride: int
    n_parameters: int
    multiply_adds: int

    def describe(self) -> str:
        """Return the size in words.

        Examples:
            >>> NetworkSize("cifar_resnet110_bn", 1.0, 2, 1_170_868, 166_800_000).describe()
            'cifar_resnet110_bn with 1,170,868 parameters and 0.167 G multiply-adds per image'
        """
        width = "" if self.width == 1 else f" at width {self.width:g}"
        stride = "" if self.last_stride == 2 else f", stride {self.last_stride} in the last stage,"
        operations = f"{self.multiply_adds / 1e9:.3g} G multiply-adds per image"
        return f"{self.name}{width}{stride} with {self.n_parameters:,} parameters and {operations}"


def describe_flops(extremes: tuple[float, float]) -> str:
    """Return a number of floating-point operations, or a range of them.

    Examples:
        >>> describe_flops((9.05e18, 9.05e18)), describe_flops((2e12, 4e13))
        ('9,050 PFLOP', '2 to 40 TFLOP')
    """
    unit, name = next((unit for unit in ((1e15, "PFLOP"), (1e12, "TFLOP")) if extremes[0] >= unit[0]), (1e9, "GFLOP"))
    numbers = dict.fromkeys(f"{float(f'{each / unit:.3g}'):,g}" for each in extremes)
    return f"{' to '.join(numbers)} {name}"


def network_sizes(models: Iterable[Model], images: Description) -> tuple[NetworkSize, ...]:
    """Return the size of each different network, without computing with it or drawing its weights.

    Raises:
        UserError: a network does not take images of this size.

    Examples:
        >>> images = Description(n_train=50_000, n_classes=100, height_px=32, width_px=32)
        >>> network_sizes([Model(name="cifar_resnet20"), Model(name="cifar_resnet20", precision="bf16")], images)
        (NetworkSize(name='cifar_resnet20', width=1.0, last_stride=2, n_parameters=275572, multiply_adds=40556800),)
    """
    named = {(model.name, model.width, model.last_stride): model for model in models}
    return tuple(_size(model, images) for model in named.values())


def _size(model: Model, images: Description) -> NetworkSize:
    import torch

    from trainables.evaluation.axes.cost import forward_flops
    from trainables.models.build import build_model

    size = {"height_px": images.height_px, "width_px": images.width_px}
    with torch.device("meta"):
        net = build_model(model, n_classes=images.n_classes, seed=0, **size)
    n_parameters = sum(parameter.numel() for parameter in net.parameters())
    return NetworkSize(model.name, model.width, model.last_stride, n_parameters, forward_flops(net, **size) // 2)
