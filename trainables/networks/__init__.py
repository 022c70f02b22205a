"""Networks by name, found by listing this folder; ``modules/`` contains their parts in torch."""

from __future__ import annotations

from trainables.discovery import import_variants
from trainables.networks.base import Network
from trainables.parts import Registry

NETWORKS: Registry[Network] = Registry(
    "network",
    Network,
    {network.name: network for network in import_variants(__name__, __path__, Network) if "name" in vars(network)},
    group="cutmix_sweep.networks",
    declares=("n_stages",),
)
"""Classes of the networks by ``model.name``, available without importing torch."""
