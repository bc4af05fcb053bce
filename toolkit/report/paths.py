"""How each path of a setup is read: where it is on the host, and where this process opens it."""

from __future__ import annotations

from collections.abc import Iterator

from runtime_configs.model import EngineName
from toolkit.engine.facts import HostFacts
from toolkit.host.paths import HostRoot
from toolkit.node import Node
from toolkit.settings import CrioMode, GivenPath


def paths_read(node: Node, facts: HostFacts | None) -> Iterator[str]:
    """Yield one line per path. Raises HostPathError for a path that cannot be used."""
    settings, root = node.settings, node.root
    seen = "as it stands" if root.root == settings.host_root else f"opened as {root.root}"
    yield f"host root {settings.host_root}: {seen}"
    yield _given(root, "install directory", settings.install_dir)
    yield _given(root, "pid file", settings.lifecycle.pid_file)
    yield _given(root, "ready file", settings.lifecycle.ready_file)
    if facts is not None:
        chosen = settings.engines[facts.engine]
        yield _of_engine(root, "config", chosen.config, facts.top_level)
        if chosen.drop_in is not None and (chosen.drop_in.declared or facts.drop_in is not None):
            yield _of_engine(root, "drop-in", chosen.drop_in, facts.drop_in)
        yield _of_engine(root, "socket", chosen.socket, facts.socket)
        if chosen.executable_path is not None:
            yield _given(root, "engine's binary", chosen.executable_path)
        if facts.template is not None:
            yield _on_host(root, "template", facts.template)
        if facts.engine is EngineName.CRIO and settings.crio.mode is CrioMode.HOOK:
            yield _given(root, "hooks", settings.crio.hooks_dir)
    if settings.nri.enabled:
        yield _given(root, "NRI socket", settings.nri.socket)
    if settings.cdi.enabled and settings.cdi.output_dir:
        yield _given(root, "CDI specs", settings.cdi.output_dir)
        yield _given(root, "driver root", settings.driver.root_in_container)
        if settings.driver.dev_root_in_container != settings.driver.root_in_container:
            yield _given(root, "dev root", settings.driver.dev_root_in_container)


def _given(root: HostRoot, what: str, path: str, source: str = "") -> str:
    by = f" ({source})" if source else ""
    return f"{what} {path}{by}: {root.explain(path)}{_behind_links(root, root.host_path(path))}"


def _of_engine(root: HostRoot, what: str, given: GivenPath, used: str | None) -> str:
    """Return the line of a path that the user gave or that was found on this node."""
    if given.declared:
        return _given(root, what, given.path, given.source)
    return _on_host(root, what, used or given.path)


def _on_host(root: HostRoot, what: str, path: str) -> str:
    opened = root.locate(path)
    how = "as it stands" if opened == path else f"host path, opened as {opened}"
    return f"{what} {path}: {how}{_behind_links(root, path)}"


def _behind_links(root: HostRoot, host_path: str) -> str:
    target = root.resolve(host_path)
    return "" if target == host_path else f", by links {target}"
