"""Registry of networks: built-in networks, members of families by the sizes in their names, and one's own."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.networks.base import Family, Network
from trainables.parts import Registry


class NetworkRegistry(Registry[Network]):
    """Classes of networks by name.

    As a mapping it contains the networks with a name of their own and the common members of families. ``[name]`` and
    ``in`` find every member of a family.

    Examples:
        >>> from trainables.networks import NETWORKS
        >>> network = NETWORKS["wrn40_4"]
        >>> network.depth, network.factor, "wrn40_4" in NETWORKS, "wrn40_4" in list(NETWORKS)
        (40, 4, True, False)
    """

    def __init__(self, variants: Iterable[type[Network]]) -> None:
        """Take the classes of all files: networks with a ``name``, families with a ``pattern``."""
        every = list(variants)
        self._families = [each for each in every if issubclass(each, Family) and "pattern" in vars(each)]
        named = {each.name: each for each in every if "name" in vars(each)}
        common = {name: family.member(name) for family in self._families for name in family.common}
        super().__init__("network", Network, named | common, group="cutmix_sweep.networks", declares=("n_stages",))

    def __contains__(self, name: object) -> bool:
        """Return whether a name is built in, without checking the sizes in it."""
        return super().__contains__(name) or (isinstance(name, str) and self._family(name) is not None)

    def __missing__(self, name: str) -> type[Network]:
        """Return a member of a family, or a network of one's own.

        Raises:
            ValueError: there is no such network.
        """
        family = self._family(name)
        if family is not None and name not in self._found:
            self._found[name] = family.member(name)
        return super().__missing__(name)

    def declared(self, name: str, attribute: str) -> bool:
        """Return ``has_width`` or another attribute of a network; True for an unknown name, which is refused later.

        Examples:
            >>> from trainables.networks import NETWORKS
            >>> NETWORKS.declared("resnet18", "has_width"), NETWORKS.declared("timm:convnext_tiny", "has_width")
            (True, False)
        """
        family = self._family(name)  # a member of timm would import torch
        try:
            return bool(getattr(family or self[name], attribute))
        except ValueError:
            return True

    def _listed(self) -> list[str]:
        """Return the names, and the forms of the names of families in place of their members."""
        forms = dict.fromkeys(family.form for family in self._families)
        return [*sorted(name for name in self.names() if self._family(name) is None), *forms]

    def _family(self, name: str) -> type[Family] | None:
        return next((family for family in self._families if family.includes(name)), None)
