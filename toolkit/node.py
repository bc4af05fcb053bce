"""The parts that a run works with, created once from the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from runtime_configs.adapter import EngineAdapter
from runtime_configs.model import EngineName, HostView
from toolkit.engine.control import EngineControl
from toolkit.host.commands import CommandRunner
from toolkit.host.paths import HostRoot
from toolkit.host.writer import FileWriter
from toolkit.journal.record import Record, State
from toolkit.journal.store import JournalStore
from toolkit.payload.installer import PayloadInstaller
from toolkit.settings import GivenPath, Settings

if TYPE_CHECKING:
    from toolkit.engine.process.discover import Choice
    from toolkit.host.sandbox import Sandbox


class OpenControl(Protocol):
    """Opens the control of an engine."""

    def __call__(self, name: EngineName, socket: str | None = None) -> EngineControl:
        """Return the control; a declared socket takes precedence over ``socket``, found earlier."""


class Node(Struct, frozen=True, kw_only=True):
    """The host as one run sees it; tests use fakes for the parts."""

    settings: Settings
    root: HostRoot
    writer: FileWriter
    view: HostView
    commands: CommandRunner
    store: JournalStore
    installer: PayloadInstaller
    control: OpenControl
    adapter: Callable[[EngineName], EngineAdapter]
    sandbox: Callable[[], Sandbox]
    """Opens a sandbox in which the engine can be started without effect on the host."""

    @property
    def toolkit_dir(self) -> str:
        """The directory of the toolkit's files, on the host."""
        return f"{self.store.install_dir}/toolkit"

    @property
    def pid_file(self) -> str:
        """The pid file, which is the lock, on the host."""
        return self.root.host_path(self.settings.lifecycle.pid_file)


def open_node(settings: Settings) -> Node:
    """Return the real host. Raises HostPathError if the host root is unusable."""
    from runtime_configs.registry import adapter_for
    from toolkit.host.commands import HostCommands
    from toolkit.host.host_files import HostFiles
    from toolkit.host.view import HostFilesView

    root = host_root(settings)

    def control(name: EngineName, socket: str | None = None) -> EngineControl:
        from toolkit.engine.open import control_of

        return control_of(name, _found_earlier(settings, name, socket), root)

    def sandbox() -> Sandbox:
        from toolkit.host.sandbox import Sandbox

        return Sandbox.open(root.root)

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
        control=control,
        adapter=adapter_for,
        sandbox=sandbox,
    )


def host_root(settings: Settings) -> HostRoot:
    """Return the host root, with the declared host path of a drop-in."""
    root = HostRoot.detect(settings.host_root)
    for chosen in settings.engines.values():
        if chosen.drop_in is not None and chosen.drop_in_host_path is not None:
            return root.with_declared(chosen.drop_in.path, chosen.drop_in_host_path)
    return root


def control_of(node: Node, record: Record) -> EngineControl | None:
    """Return the control of a record's engine; None if it has none."""
    return None if record.engine is None else node.control(record.engine, record.socket or None)


def _found_earlier(settings: Settings, name: EngineName, socket: str | None) -> Settings:
    """Return the settings with the engine's socket from the journal, unless one is declared."""
    chosen = settings.engines[name]
    if socket is None or chosen.socket.declared:
        return settings
    known = replace(chosen, socket=GivenPath(path=socket, source="journal"))
    return replace(settings, engines={**settings.engines, name: known})


def choose_engine(node: Node, record: Record | None) -> Choice:
    """Return the declared engine, else the one that serves this node, and why.

    ``record`` is the journal: the engine already set up stays unless the kubelet names another.
    """
    from toolkit.engine.process.discover import Earlier, chosen_runtime

    earlier = None
    if record is not None and record.engine is not None and record.state is State.COMMITTED:
        earlier = Earlier(name=record.engine, socket=record.socket)
    return chosen_runtime(node.settings, node.root, earlier)
