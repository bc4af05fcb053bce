"""Engine name to adapter: the only list of engines. Only the chosen adapter is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime_configs.adapter import EngineAdapter
from runtime_configs.model import EngineName, of_engine


def _containerd() -> EngineAdapter:
    from runtime_configs.containerd.adapter import ContainerdAdapter

    return ContainerdAdapter()


def _crio() -> EngineAdapter:
    from runtime_configs.crio.adapter import CrioAdapter

    return CrioAdapter()


def _docker() -> EngineAdapter:
    from runtime_configs.docker.adapter import DockerAdapter

    return DockerAdapter()


ADAPTERS: Mapping[EngineName, Callable[[], EngineAdapter]] = {
    EngineName.CONTAINERD: _containerd,
    EngineName.CRIO: _crio,
    EngineName.DOCKER: _docker,
}


def adapter_for(engine: EngineName) -> EngineAdapter:
    """Return the adapter of an engine."""
    return of_engine(ADAPTERS, engine, "ADAPTERS in runtime_configs/registry.py")()
