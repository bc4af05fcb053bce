"""What a CDI spec names, read without a YAML library."""

from __future__ import annotations

import contextlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolkit.payload.cdi_spec import CdiSpec, read_spec

WHOLE = """\
---
# of nvidia-ctk
cdiVersion: 0.5.0
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  - "X=a: b # c"
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - ../libnvidia-allocator.so.1::/usr/lib/gbm/nvidia-drm_gbm.so
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/lib/libcuda.so.550
    hostPath: '/driver/usr/lib/libcuda.so.550'
    options: [ro, nosuid]
  - containerPath: /tmp
    hostPath: tmpfs
devices:
- containerEdits:
    deviceNodes:
    - hostPath: /driver/dev/nvidia0
      path: /dev/nvidia0
    - path: "/dev/nvidiactl"
  name: "0"
- containerEdits: {}
  name: all
kind: nvidia.com/gpu
"""
NAMED = CdiSpec(
    devices=("nvidia.com/gpu=0", "nvidia.com/gpu=all"),
    paths=(
        "/driver/usr/lib/libcuda.so.550",
        "/usr/bin/nvidia-cdi-hook",
        "/driver/dev/nvidia0",
        "/dev/nvidiactl",
    ),
)


def test_every_file_and_node_of_the_host_is_named() -> None:
    assert read_spec(WHOLE.encode()) == NAMED


@pytest.mark.parametrize("indent", [2, 4])
@pytest.mark.parametrize("sort", [True, False])
def test_it_is_the_same_in_json_and_in_yaml_of_another_layout(indent: int, *, sort: bool) -> None:
    document = yaml.safe_load(WHOLE)
    assert read_spec(json.dumps(document, indent=indent).encode()) == NAMED
    text = yaml.safe_dump(document, indent=indent, sort_keys=sort, default_flow_style=False)
    assert read_spec(text.encode()) == NAMED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kind: a/b\n",
        "[]",
        "{",
        "cdiVersion: 1\nkind: a/b\n\tdevices: []\n",
        "cdiVersion: 1\nkind: a/b\ndevices: [{name: x}]\n",
        "cdiVersion: 1\nkind: a/b\ndevices: *anchor\n",
        "just words\n",
        "cdiVersion: 1\nkind: 'a/b\n",
    ],
)
def test_what_is_no_spec_or_is_written_otherwise_is_refused_and_not_misread(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_spec(text.encode())


PATHS = st.text("abz/.-_: #'\"0", min_size=1, max_size=12).map("/{}".format)


@given(st.lists(PATHS, max_size=4), st.lists(st.tuples(PATHS, st.booleans()), max_size=4))
def test_whatever_the_paths_are_it_reads_what_a_yaml_library_reads(
    mounts: list[str], nodes: list[tuple[str, bool]]
) -> None:
    document = {
        "cdiVersion": "0.6.0",
        "kind": "a.com/b",
        "containerEdits": {
            "mounts": [{"hostPath": each, "containerPath": "/x"} for each in mounts]
        },
        "devices": [
            {
                "name": "n",
                "containerEdits": {
                    "deviceNodes": [
                        {"path": "/dev/x", "hostPath": path} if moved else {"path": path}
                        for path, moved in nodes
                    ]
                },
            }
        ],
    }
    text = yaml.safe_dump(document, default_flow_style=False, width=10_000)
    expected = dict.fromkeys([*mounts, *(path for path, _ in nodes)])
    try:
        found = read_spec(text.encode())
    except ValueError:
        # A key in "? " form and the like: refused is right as well.
        return
    assert found.paths == tuple(expected)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_spec(content)
