"""Name to adapter: the one place that lists the engines."""

from __future__ import annotations

from runtime_configs.adapter import EngineAdapter
from runtime_configs.containerd.adapter import ContainerdAdapter
from runtime_configs.model import EngineName

_ADAPTERS: dict[EngineName, EngineAdapter] = {EngineName.CONTAINERD: ContainerdAdapter()}


def adapter_for(name: EngineName) -> EngineAdapter:
    """Return the adapter of an engine."""
    return _ADAPTERS[name]
