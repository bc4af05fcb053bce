"""Choose the CDI devices of a container from the pod's annotations (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.nri.protos.nri_pb2 import Container, PodSandbox

ANNOTATION_DOMAIN = "nvidia.cdi.k8s.io"
MANAGEMENT_KIND = "management.nvidia.com/gpu"
_KIND = r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_DEVICE = r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
_QUALIFIED_NAME = re.compile(rf"({_KIND}/{_KIND})={_DEVICE}")
"""``vendor/class=name`` (CDI, pkg/parser/parser.go)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which namespaces may use management devices."""

    management_kinds: frozenset[str]
    """Kinds, ``vendor/class``, whose devices are management devices."""
    namespaces: frozenset[str]
    """Namespaces whose pods may use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """The devices that a container gets, and the requests that were refused."""

    annotation: str | None = None
    """The annotation that applies; None if the pod requests nothing."""
    devices: tuple[str, ...] = ()
    not_allowed: tuple[str, ...] = ()
    """Management devices requested from a namespace that may not use them."""
    invalid: tuple[str, ...] = ()
    """Names that are not CDI device names."""


def effective_annotation(
    annotations: Mapping[str, str], container_name: str
) -> tuple[str, str] | None:
    """Return the narrowest annotation for a container, and its value.

    NRI's order (NRI, pkg/plugin/annotations.go). An empty value counts too: it cancels a wider
    annotation.
    """
    for key in (
        f"{ANNOTATION_DOMAIN}/container.{container_name}",
        f"{ANNOTATION_DOMAIN}/pod",
        ANNOTATION_DOMAIN,
    ):
        if key in annotations:
            return key, annotations[key]
    return None


def decide(pod: PodSandbox, container: Container, policy: Policy) -> DeviceChoice:
    """Choose a container's devices, without duplicates: the engine rejects a duplicate."""
    found = effective_annotation(pod.annotations, container.name)
    if found is None:
        return DeviceChoice()
    key, value = found
    names = dict.fromkeys(name.strip() for name in value.split(",")) if value.strip() else {}
    devices, not_allowed, invalid = [], [], []
    for name in names:
        match = _QUALIFIED_NAME.fullmatch(name)
        if match is None:
            invalid.append(name)
        elif match[1] in policy.management_kinds and pod.namespace not in policy.namespaces:
            not_allowed.append(name)
        else:
            devices.append(name)
    return DeviceChoice(
        annotation=key,
        devices=tuple(devices),
        not_allowed=tuple(not_allowed),
        invalid=tuple(invalid),
    )
