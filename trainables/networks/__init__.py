"""Networks by name, found by listing this folder; ``modules/`` contains their parts in torch."""

from __future__ import annotations

from trainables.discovery import import_variants
from trainables.networks.base import Network
from trainables.networks.registry import NetworkRegistry

NETWORKS = NetworkRegistry(import_variants(__name__, __path__, Network))
"""Classes of the networks by ``model.name``, available without importing torch."""
