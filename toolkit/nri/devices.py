"""Which CDI devices a container gets: the pod's annotations in, device names out; pure."""

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
    """Who may have management devices."""

    management_kinds: frozenset[str]
    """Kinds, ``vendor/class``, whose devices are the management container's."""
    namespaces: frozenset[str]
    """Namespaces whose pods may have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a container gets, and what it asked for in vain."""

    annotation: str | None = None
    """The annotation that counts; None: the pod asks for nothing."""
    devices: tuple[str, ...] = ()
    not_allowed: tuple[str, ...] = ()
    """Management devices, asked for from a namespace that may not have them."""
    invalid: tuple[str, ...] = ()
    """No CDI device names."""


def effective_annotation(
    annotations: Mapping[str, str], container_name: str
) -> tuple[str, str] | None:
    """Return the annotation that counts for a container, the narrowest one, and its value.

    NRI's order (NRI, pkg/plugin/annotations.go); an empty value counts: it takes the wider one
    away.
    """
    for key in (
        f"{ANNOTATION_DOMAIN}/container.{container_name}",
        f"{ANNOTATION_DOMAIN}/pod",
        ANNOTATION_DOMAIN,
    ):
        if key in annotations:
            return key, annotations[key]
    return None


def decide(pod: PodSandbox, container: Container, policy: Policy) -> Decision:
    """Choose a container's devices, each once: the engine fails a container that has one twice."""
    found = effective_annotation(pod.annotations, container.name)
    if found is None:
        return Decision()
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
    return Decision(
        annotation=key,
        devices=tuple(devices),
        not_allowed=tuple(not_allowed),
        invalid=tuple(invalid),
    )
