"""Networks of the library timm, by its names."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.errors import UserError
from trainables.extras import check_extra
from trainables.networks.base import Family, Network

if TYPE_CHECKING:
    from trainables.networks.modules.staged import StagedNet

PREFIX = "timm:"


class TimmNetwork(Family):
    """A network of timm with random weights, for example ``timm:convnext_tiny``.

    Its stages are the maps of timm's ``feature_info``, in order; the last one is the input of the pooling. A network is
    refused if a stage gives no maps, if its logits are not a linear function of the mean of the last maps, as class
    activation maps assume, or if it draws random numbers in training. A trial would then not mix, localise or resume
    as trials of other networks do.

    Attributes:
        timm_name: name of the network in timm, without the tag of pretrained weights.
    """

    form = "timm:NAME"
    pattern = r"timm:(?P<timm_name>.*)"
    residuals = r"net\.(.+\.)?drop_path\d?"
    has_width = False
    is_square = True
    timm_name: ClassVar[str]

    @classmethod
    def member(cls, name: str) -> type[Network]:
        """Return the network of a name, with the stages that the installed timm gives it.

        Raises:
            ValueError: timm is not installed, has no such network, or tells no stages of it.
        """
        try:
            check_extra("timm", needed_by=f"network '{name}'")
        except UserError as error:
            raise ValueError(str(error)) from None
        from trainables.networks.modules.timm_net import stage_paths

        timm_name = name.removeprefix(PREFIX)
        about = {"name": name, "__module__": cls.__module__, "__doc__": cls.__doc__, "timm_name": timm_name}
        return type(cls.__name__, (cls,), about | {"n_stages": len(stage_paths(timm_name))})

    def build(self, *, n_classes: int, side_px: int, width: float) -> StagedNet:
        """Return the network with its initial weights.

        Raises:
            UserError: the network cannot be used at this size or at all; the message says why.
        """
        from trainables.networks.modules.timm_net import TimmNet

        if width != 1:
            raise UserError(f"model.width is {width:g}, but networks of timm have no width: remove it, or set it to 1")
        return TimmNet(self.timm_name, n_classes=n_classes, side_px=side_px)
