"""containerd's own keys, and the spellings that its decoders accept.

They are ``version`` and ``imports``, the CRI plugin's keys, a handler's and its options. The names
of plugins and handlers are exact. (Tried on 1.6, 1.7 and 2.1; ``tests/engine/test_key_case.py``
shows it.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from runtime_configs.containerd.schema import CRI_PLUGINS, Era
from runtime_configs.formats.key_case import EXACT, Keys, Matching, any_case

OPTIONS: Final = Keys(
    own=frozenset({
        "BinaryName", "CriuImagePath", "CriuPath", "CriuWorkPath", "IoGid", "IoUid", "NoNewKeyring",
        "NoPivotRoot", "Root", "Runtime", "RuntimeRoot", "ShimCgroup", "SystemdCgroup",
        "TaskApiAddress", "TaskApiVersion",
    })
)  # fmt: skip
"""Options of runc's shims (``containerd.runc.v1.Options``), and of the shim before 1.3."""
HANDLER: Final = Keys(
    own=frozenset({
        "base_runtime_spec", "cgroup_writable", "cni_conf_dir", "cni_max_conf_num",
        "container_annotations", "io_type", "options", "pod_annotations",
        "privileged_without_host_devices", "privileged_without_host_devices_all_devices_allowed",
        "runtime_engine", "runtime_path", "runtime_root", "runtime_type", "sandbox_mode",
        "sandboxer", "snapshotter",
    }),
    below={"options": OPTIONS},
)  # fmt: skip
"""``Runtime`` in ``pkg/cri/config/config.go`` (1.x) and ``internal/cri/config`` (2.x)."""
CONTAINERD: Final = Keys(
    own=frozenset({
        "default_runtime", "default_runtime_name", "runtimes", "untrusted_workload_runtime",
    }),
    below={
        "default_runtime": HANDLER,
        "runtimes": Keys(each=HANDLER),
        "untrusted_workload_runtime": HANDLER,
    },
)  # fmt: skip
CRI: Final = Keys(
    own=frozenset({
        "cni", "containerd", "drain_exec_sync_io_timeout", "enable_cdi",
        "image_pull_progress_timeout", "no_pivot", "registry", "stream_idle_timeout",
        "systemd_cgroup",
    }),
    below={"containerd": CONTAINERD},
)  # fmt: skip
"""Keys that determine what is served, or whether the plugin loads (``faults.py``)."""
ROOT: Final = Keys(
    own=frozenset({"version", "imports", "disabled_plugins", "plugins"}),
    below={"plugins": Keys(below=dict.fromkeys(CRI_PLUGINS, CRI))},
)
"""A whole file."""
FILE: Final = Keys(own=ROOT.own, each=EXACT)
"""A file except for its plugins' tables: 2.x merges those as spelled."""


def matching(era: Era) -> Matching:
    """Return how an engine of this era matches its keys."""
    return _first_form if era is Era.REPLACES else _any_case


def _first_form(name: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return the spelling that 1.x uses: the first of four (``valueFromTree`` in go-toml 1.9)."""
    forms = (name, name.lower(), name.upper(), name[:1].lower() + name[1:])
    there = set(keys)
    return next(((form,) for form in forms if form in there), ())


def _any_case(name: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return the spellings that 2.x uses: all, as it sorts its tables by key before it reads them.

    (go-toml 2; ``Decode`` in ``cmd/containerd/server/config`` and ``GenerateRuntimeOptions`` in
    ``internal/cri/config`` write a table out and read it back.)
    """
    return tuple(sorted(any_case(name, keys)))
