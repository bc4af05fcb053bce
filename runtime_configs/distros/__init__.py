"""Kubernetes distributions: where each keeps the engine's files, and where we may write."""

from __future__ import annotations

from runtime_configs.distros.recognition import Place, Sighting, identify
from runtime_configs.distros.table import (
    BOTTLEROCKET,
    DISTRIBUTIONS,
    K0S,
    K3S,
    MICROK8S,
    RKE2,
    TALOS,
    Distribution,
    owner_of,
    plain_row,
    row_of,
)

__all__ = [
    "BOTTLEROCKET",
    "DISTRIBUTIONS",
    "K0S",
    "K3S",
    "MICROK8S",
    "RKE2",
    "TALOS",
    "Distribution",
    "Place",
    "Sighting",
    "identify",
    "owner_of",
    "plain_row",
    "row_of",
]
