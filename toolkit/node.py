"""The parts that a run works with, made once from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime_configs.adapter import EngineAdapter
from runtime_configs.model import EngineName, HostView
from toolkit.engine.control import EngineControl
from toolkit.host.commands import Commands
from toolkit.host.journal_files import JournalStore
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.payload.installer import PayloadInstaller
from toolkit.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The host as one run sees it; tests put fakes in each place."""

    settings: Settings
    root: HostRoot
    writer: FileWriter
    view: HostView
    commands: Commands
    store: JournalStore
    installer: PayloadInstaller
    control: Callable[[EngineName], EngineControl]
    adapter: Callable[[EngineName], EngineAdapter]


def open_node(settings: Settings) -> Node:
    """Return the real host. Raises HostPathError where the host root can't be used."""
    from runtime_configs.registry import adapter_for
    from toolkit.engine import open_engine
    from toolkit.host.commands import HostCommands
    from toolkit.host.files import HostFiles, HostFilesView

    root = host_root(settings)
    writer = HostFiles(root)
    view = HostFilesView(root)
    return Node(
        settings=settings,
        root=root,
        writer=writer,
        view=view,
        commands=HostCommands(root.root),
        store=JournalStore(
            writer=writer, view=view, install_dir=root.host_path(settings.install_dir)
        ),
        installer=PayloadInstaller(settings=settings, root=root, writer=writer),
        control=lambda name: open_engine(name, settings, root),
        adapter=adapter_for,
    )


def host_root(settings: Settings) -> HostRoot:
    """Return the host root, with the place of a drop-in as the user declared it."""
    root = HostRoot.detect(settings.host_root)
    for chosen in settings.engines.values():
        if chosen.drop_in is not None and chosen.drop_in_host_path is not None:
            return root.placed(chosen.drop_in.path, chosen.drop_in_host_path)
    return root


def choose_engine(node: Node) -> EngineName:
    """Return the declared engine, else the one that serves this node."""
    if node.settings.runtime is not None:
        return node.settings.runtime
    from toolkit.engine.discover import choose_runtime

    return choose_runtime(node.settings, node.root)
