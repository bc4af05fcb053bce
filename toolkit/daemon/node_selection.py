"""Whether the DaemonSet controller would place its pod on a node, from Kubernetes' objects alone.

Follows Kubernetes' own controller (``NodeShouldRunDaemonPod`` in daemon_controller.go): the node's
name, its node selector, its required node affinity, and every taint tolerated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
"""A JSON object as the API server sends it."""

_KEEPS_PODS_OUT = ("NoSchedule", "NoExecute")
_TOLERATED_BY_ALL = frozenset(
    f"node.kubernetes.io/{name}"
    for name in (
        *("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure"),
        *("unschedulable", "network-unavailable"),
    )
)
"""Taints that the controller makes all its pods tolerate, the one of a cordon included."""


class UnknownRuleError(Exception):
    """A rule of a later Kubernetes that is not known here."""


def needs_node(daemon_set: Object) -> bool:
    """Return whether the answer depends on the node's labels or taints."""
    spec = _pod_spec(daemon_set)
    all_tolerated = any(
        not each.get("key") and each.get("operator") == "Exists" and not each.get("effect")
        for each in _items(spec, "tolerations")
    )
    return bool(spec.get("nodeSelector")) or _required(spec) is not None or not all_tolerated


def selects(daemon_set: Object, node: Object) -> str:
    """Return why the node is not selected; empty where it is. Raises UnknownRuleError."""
    spec = _pod_spec(daemon_set)
    metadata = _object(node, "metadata")
    labels = _object(metadata, "labels")
    for key, value in _object(spec, "nodeSelector").items():
        if labels.get(key) != value:
            return f"the node has no label {key}={value}"
    required = _required(spec)
    if required is not None:
        fields = {"metadata.name": metadata.get("name", "")}
        terms = _items(required, "nodeSelectorTerms")
        if not any(_term_matches(term, labels, fields) for term in terms):
            return "the node's labels match no term of its node affinity"
    tolerations = _items(spec, "tolerations")
    for taint in _items(_object(node, "spec"), "taints"):
        if taint.get("effect") not in _KEEPS_PODS_OUT or taint.get("key") in _TOLERATED_BY_ALL:
            continue
        if not any(_tolerates(each, taint) for each in tolerations):
            return f"the node has the taint {taint.get('key')}:{taint.get('effect')}"
    return ""


def _pod_spec(daemon_set: Object) -> Object:
    return _object(_object(_object(daemon_set, "spec"), "template"), "spec")


def _required(spec: Object) -> Object | None:
    affinity = _object(_object(spec, "affinity"), "nodeAffinity")
    found: Object | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return found


def _term_matches(term: Object, labels: Object, fields: Object) -> bool:
    """Return whether a node meets all requirements of a term; an empty term matches no node."""
    wanted = [(each, labels) for each in _items(term, "matchExpressions")]
    wanted += [(each, fields) for each in _items(term, "matchFields")]
    return bool(wanted) and all(_is_met(each, values) for each, values in wanted)


def _is_met(requirement: Object, values: Object) -> bool:
    key = str(requirement.get("key"))
    wanted: Sequence[str] = requirement.get("values") or ()
    there, value = key in values, values.get(key)
    match requirement.get("operator"):
        case "In":
            return there and value in wanted
        case "NotIn":
            return not there or value not in wanted
        case "Exists":
            return there
        case "DoesNotExist":
            return not there
        case "Gt":
            return _is_number(value) and int(str(value)) > int(wanted[0])
        case "Lt":
            return _is_number(value) and int(str(value)) < int(wanted[0])
    raise UnknownRuleError(f"operator {requirement.get('operator')} of a node affinity")


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.get("value", "") == taint.get("value", ""))
    raise UnknownRuleError(f"operator {toleration['operator']} of a toleration")


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.lstrip("+-").isascii() and value.lstrip("+-").isdigit()


def _object(holder: Object, key: str) -> Object:
    found: Object = holder.get(key) or {}
    return found


def _items(holder: Object, key: str) -> Sequence[Object]:
    found: Sequence[Object] = holder.get(key) or ()
    return found
