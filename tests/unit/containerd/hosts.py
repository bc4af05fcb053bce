"""Hosts and requests for the tests of containerd's adapter."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.containerd.adapter import ContainerdAdapter
from runtime_configs.model import (
    DesiredHandlers,
    EditSet,
    EffectiveConfig,
    RuntimeHandler,
    ServedHandler,
    Version,
)
from tests.fakes.memory_files import MemoryFiles

TOP = "/etc/containerd/config.toml"
DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"
TOOLKIT = "/usr/local/nvidia/toolkit"
BINARY = f"{TOOLKIT}/nvidia-container-runtime"
HANDLERS = (
    RuntimeHandler(name="nvidia", binary_path=BINARY),
    RuntimeHandler(name="nvidia-cdi", binary_path=f"{BINARY}.cdi"),
    RuntimeHandler(name="nvidia-legacy", binary_path=f"{BINARY}.legacy"),
)
ADAPTER = ContainerdAdapter()
V2 = "io.containerd.grpc.v1.cri"
V3 = "io.containerd.cri.v1.runtime"


def version(text: str) -> Version:
    """Return a version from its numbers."""
    major, minor, patch = (int(part) for part in f"{text}.0.0".split(".")[:3])
    return Version(major=major, minor=minor, patch=patch, text=text)


def request(
    engine: str | None = "1.7.24",
    *,
    default: str | None = "nvidia",
    enable_cdi: bool | None = None,
    annotations: tuple[str, ...] = (),
    override: Mapping[str, object] | None = None,
    effective: EffectiveConfig | None = None,
    top_level: str = TOP,
    drop_in: str | None = DROP_IN,
    drop_in_declared: bool = False,
    placement: Placement = Placement.PLAIN,
    template: str | None = None,
    legacy: bool = False,
    toolkit_dir: str = TOOLKIT,
) -> ConfigRequest:
    """Return what the adapter is asked for."""
    handlers = tuple(
        RuntimeHandler(name=each.name, binary_path=each.binary_path.replace(TOOLKIT, toolkit_dir))
        for each in HANDLERS
    )
    return ConfigRequest(
        desired=DesiredHandlers(
            handlers=handlers,
            default=default,
            enable_cdi=enable_cdi,
            container_annotations=annotations,
            override=override or {},
        ),
        top_level=top_level,
        drop_in=drop_in,
        drop_in_declared=drop_in_declared,
        version=None if engine is None else version(engine),
        effective=effective,
        placement=placement,
        template=template,
        use_legacy_config=legacy,
        toolkit_dir=toolkit_dir,
    )


def host(**files: str) -> MemoryFiles:
    """Return a host; ``top`` and ``drop_in`` name the usual files, others their path below /etc."""
    names = {"top": TOP, "drop_in": DROP_IN}
    return MemoryFiles.holding(
        {names.get(name, name): content.encode() for name, content in files.items()}
    )


def edited(asked: ConfigRequest, files: MemoryFiles) -> dict[str, str]:
    """Return each edited file's new text, after checking that a second time changes nothing."""
    edits = apply(ADAPTER.edits(asked, files.view()), files)
    assert ADAPTER.edits(asked, files.view()).edits == ()
    return edits


def apply(edits: EditSet, files: MemoryFiles) -> dict[str, str]:
    """Put the edits on the host and return the new texts by path."""
    for each in edits.edits:
        assert files.view().read(each.path) == each.before
        assert each.after is not None
        files.put(each.path, each.after)
    return {each.path: (each.after or b"").decode() for each in edits.edits}


def cri(text: str, plugin: str = V2) -> dict[str, Any]:
    """Return the CRI table of a file's text."""
    found: dict[str, Any] = tomllib.loads(text)["plugins"][plugin]
    return found


def reporting(default: str, **options: object) -> EffectiveConfig:
    """Return what an engine reports whose default handler has these options."""
    table = {"runtime_type": "io.containerd.runc.v2", "options": options}
    served = ServedHandler(
        name=default, binary_path=None, runtime_type="io.containerd.runc.v2", table=table
    )
    return EffectiveConfig(handlers={default: served}, default=default, raw={})
