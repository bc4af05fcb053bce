from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from toolkit.nri.devices import MANAGEMENT_KIND, Policy, decide
from toolkit.nri.protos.nri_pb2 import Container, PodSandbox

POLICY = Policy(
    management_kinds=frozenset({MANAGEMENT_KIND}), namespaces=frozenset({"gpu-operator"})
)
NAMES = st.text(alphabet="ab1/=.-_: ,\u00e9\n", max_size=12) | st.sampled_from(
    ("nvidia.com/gpu=0", "nvidia.com/gpu=1", f"{MANAGEMENT_KIND}=all", " a/b=c ")
)
KEYS = st.sampled_from(
    (
        "nvidia.cdi.k8s.io",
        "nvidia.cdi.k8s.io/pod",
        "nvidia.cdi.k8s.io/container.main",
        "nvidia.cdi.k8s.io/container.other",
    )
)
ANNOTATIONS = st.dictionaries(KEYS, st.lists(NAMES, max_size=6).map(",".join))
CDI_NAME = re.compile(r"[A-Za-z][\w.-]*/[A-Za-z][\w.-]*=[A-Za-z0-9][\w.:-]*", re.ASCII)


@given(ANNOTATIONS, st.sampled_from(("default", "gpu-operator", "gpu-operator2", "")))
def test_every_name_is_given_once_or_said_to_be_left_out(
    annotations: dict[str, str], namespace: str
) -> None:
    pod = PodSandbox(namespace=namespace, annotations=annotations)
    decision = decide(pod, Container(name="main"), POLICY)
    told = (*decision.devices, *decision.not_allowed, *decision.invalid)
    assert len(told) == len(set(told))
    if decision.annotation is not None and annotations[decision.annotation].strip():
        asked = {name.strip() for name in annotations[decision.annotation].split(",")}
        assert asked == set(told)
    else:
        assert told == ()
    assert all(CDI_NAME.fullmatch(name) for name in decision.devices)
    if namespace != "gpu-operator":
        assert not any(name.startswith(f"{MANAGEMENT_KIND}=") for name in decision.devices)
    else:
        assert decision.not_allowed == ()


@given(ANNOTATIONS)
def test_an_annotation_of_another_container_changes_nothing(annotations: dict[str, str]) -> None:
    others = {
        key: value for key, value in annotations.items() if not key.endswith("container.other")
    }
    main = Container(name="main")
    expected = decide(PodSandbox(annotations=others), main, POLICY)
    assert expected == decide(PodSandbox(annotations=annotations), main, POLICY)
