"""Name to adapter: the one place that lists the engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime_configs.adapter import EngineAdapter
from runtime_configs.containerd.adapter import ContainerdAdapter
from runtime_configs.crio.adapter import CrioAdapter
from runtime_configs.docker.adapter import DockerAdapter
from runtime_configs.model import EngineName

ADAPTERS: Mapping[EngineName, Callable[[], EngineAdapter]] = {
    EngineName.CONTAINERD: ContainerdAdapter,
    EngineName.CRIO: CrioAdapter,
    EngineName.DOCKER: DockerAdapter,
}


def adapter_for(engine: EngineName) -> EngineAdapter:
    """Return the adapter of an engine."""
    return ADAPTERS[engine]()
