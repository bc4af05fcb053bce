"""How each path of a setup is read: where it is on the host, and where this process opens it."""

from __future__ import annotations

from collections.abc import Iterator

from runtime_configs.model import EngineName
from toolkit.engine.facts import HostFacts
from toolkit.host.paths import HostRoot
from toolkit.node import Node
from toolkit.settings import CrioMode, GivenPath


def paths_read(node: Node, facts: HostFacts | None) -> Iterator[tuple[str, str]]:
    """Yield what each path is for, and the path with how it is read.

    Raises HostPathError for a path that cannot be used.
    """
    settings, root = node.settings, node.root
    seen = "as it stands" if root.root == settings.host_root else f"opened as {root.root}"
    yield "host root", f"{settings.host_root}: {seen}"
    yield "install directory", _given(root, settings.install_dir)
    yield "pid file", _given(root, settings.lifecycle.pid_file)
    yield "ready file", _given(root, settings.lifecycle.ready_file)
    if facts is not None:
        chosen = settings.engines[facts.engine]
        yield "config", _of_engine(root, chosen.config, facts.top_level)
        if chosen.drop_in is not None and (chosen.drop_in.declared or facts.drop_in is not None):
            yield "drop-in", _of_engine(root, chosen.drop_in, facts.drop_in)
        yield "socket", _of_engine(root, chosen.socket, facts.socket)
        if chosen.executable_path is not None:
            yield "engine's binary", _given(root, chosen.executable_path)
        if facts.template is not None:
            yield "template", _on_host(root, facts.template)
        if facts.engine is EngineName.CRIO and settings.crio.mode is CrioMode.HOOK:
            yield "hooks", _given(root, settings.crio.hooks_dir)
    if settings.nri.enabled:
        yield "NRI socket", _given(root, settings.nri.socket)
    if settings.cdi.enabled and settings.cdi.output_dir:
        yield "CDI specs", _given(root, settings.cdi.output_dir)
        yield "driver root", _given(root, settings.driver.root_in_container)
        if settings.driver.dev_root_in_container != settings.driver.root_in_container:
            yield "dev root", _given(root, settings.driver.dev_root_in_container)


def _given(root: HostRoot, path: str, source: str = "") -> str:
    by = f" ({source})" if source else ""
    return f"{path}{by}: {root.explain(path)}{_behind_links(root, root.host_path(path))}"


def _of_engine(root: HostRoot, given: GivenPath, used: str | None) -> str:
    """Return a path that the user gave or that was found on this node."""
    if given.declared:
        return _given(root, given.path, given.source)
    return _on_host(root, used or given.path)


def _on_host(root: HostRoot, path: str) -> str:
    opened = root.locate(path)
    how = "as it stands" if opened == path else f"host path, opened as {opened}"
    return f"{path}: {how}{_behind_links(root, path)}"


def _behind_links(root: HostRoot, host_path: str) -> str:
    target = root.resolve(host_path)
    return "" if target == host_path else f", by links {target}"
