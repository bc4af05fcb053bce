from __future__ import annotations

import pytest

from toolkit.nri.devices import MANAGEMENT_KIND, Policy, decide, effective_annotation
from toolkit.nri.protos.nri_pb2 import Container, PodSandbox

POLICY = Policy(
    management_kinds=frozenset({MANAGEMENT_KIND, "example.com/manager"}),
    namespaces=frozenset({"gpu-operator", "monitoring"}),
)


def devices_of(
    annotations: dict[str, str], *, namespace: str = "default", container: str = "main"
) -> tuple[str, ...]:
    pod = PodSandbox(namespace=namespace, annotations=annotations)
    return decide(pod, Container(name=container), POLICY).devices


def test_a_pod_without_annotations_gets_nothing() -> None:
    assert devices_of({}) == ()
    assert devices_of({"cdi.k8s.io/x": "nvidia.com/gpu=0"}) == ()


def test_the_narrowest_annotation_counts() -> None:
    annotations = {
        "nvidia.cdi.k8s.io": "nvidia.com/gpu=bare",
        "nvidia.cdi.k8s.io/pod": "nvidia.com/gpu=pod",
        "nvidia.cdi.k8s.io/container.main": "nvidia.com/gpu=container",
    }
    assert devices_of(annotations) == ("nvidia.com/gpu=container",)
    assert devices_of(annotations, container="other") == ("nvidia.com/gpu=pod",)
    del annotations["nvidia.cdi.k8s.io/pod"]
    assert devices_of(annotations, container="other") == ("nvidia.com/gpu=bare",)


def test_an_empty_annotation_of_a_container_takes_the_pods_devices_away() -> None:
    annotations = {
        "nvidia.cdi.k8s.io": "nvidia.com/gpu=0",
        "nvidia.cdi.k8s.io/container.main": "",
    }
    assert devices_of(annotations) == ()
    assert decide(PodSandbox(annotations=annotations), Container(name="main"), POLICY).invalid == ()
    assert effective_annotation(annotations, "main") == ("nvidia.cdi.k8s.io/container.main", "")


def test_names_are_separated_by_commas_and_each_is_given_once() -> None:
    value = "nvidia.com/gpu=1, nvidia.com/gpu=0 ,nvidia.com/gpu=1"
    assert devices_of({"nvidia.cdi.k8s.io": value}) == ("nvidia.com/gpu=1", "nvidia.com/gpu=0")


@pytest.mark.parametrize("kind", [MANAGEMENT_KIND, "example.com/manager"])
def test_management_devices_are_for_the_allowed_namespaces_only(kind: str) -> None:
    annotations = {"nvidia.cdi.k8s.io": f"{kind}=all,nvidia.com/gpu=0"}
    pod = PodSandbox(namespace="default", annotations=annotations)
    decision = decide(pod, Container(name="main"), POLICY)
    assert decision.devices == ("nvidia.com/gpu=0",)
    assert decision.not_allowed == (f"{kind}=all",)
    for namespace in ("gpu-operator", "monitoring"):
        assert devices_of(annotations, namespace=namespace) == (f"{kind}=all", "nvidia.com/gpu=0")


def test_a_namespace_is_compared_as_a_whole() -> None:
    annotations = {"nvidia.cdi.k8s.io": f"{MANAGEMENT_KIND}=all"}
    for namespace in ("", "gpu-operator2", "gpu", "GPU-OPERATOR"):
        assert devices_of(annotations, namespace=namespace) == ()


@pytest.mark.parametrize(
    "name",
    [
        *("vendor/class=name", "nvidia.com/gpu=0", "a/b=c", "A-1_2.x/y=0:1", "v/c=GPU-12:ab.c_d"),
        *("v/c=9", "vendor.com/gpu=MIG-1"),
    ],
)
def test_a_cdi_device_name_is_taken(name: str) -> None:
    assert devices_of({"nvidia.cdi.k8s.io": name}) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        *("gpu0", "0", "all", "nvidia.com/gpu", "nvidia.com/gpu=", "=0", "/gpu=0", "nvidia.com=0"),
        *("1vendor/gpu=0", "-v/gpu=0", "v-/gpu=0", "v/c-=0", "v/2c=0", "v/c=-0", "v/c=0-"),
        *("v/c=a=b", "v/c/d=0", "v/c=a b", "v/c=a/b", "/dev/nvidia0", "v/c=\u0661", "vendör/c=0"),
        *("v/c=0\nx", "v:1/c=0"),
    ],
)
def test_what_is_no_cdi_device_name_is_left_out_and_said(name: str) -> None:
    pod = PodSandbox(annotations={"nvidia.cdi.k8s.io": f"x/y=before,{name},x/y=after"})
    decision = decide(pod, Container(name="main"), POLICY)
    assert decision.devices == ("x/y=before", "x/y=after")
    assert decision.invalid == (name,)


def test_a_stray_comma_is_an_invalid_name_among_good_ones() -> None:
    pod = PodSandbox(annotations={"nvidia.cdi.k8s.io": "x/y=1,"})
    decision = decide(pod, Container(), POLICY)
    assert (decision.devices, decision.invalid) == (("x/y=1",), ("",))
