"""Choose the engine of this node when the user names none."""

from __future__ import annotations

import json
import posixpath
import time

from msgspec import Struct

from runtime_configs.distros.table import plain_row
from runtime_configs.model import EngineName, HostView
from toolkit.engine.facts import EngineProcess
from toolkit.engine.process import kubelet, peer
from toolkit.engine.process.daemon_arguments import path_option
from toolkit.engine.process.locate import Located, Locator
from toolkit.errors import EngineNotFoundError, HostPathError
from toolkit.host.given_mounts import NO_HOST_ROOT, own_root_is_container_image
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessTable, ProcFs
from toolkit.host.view import HostFilesView
from toolkit.settings import Settings

_SECONDS = 5.0
_NAME_IT = "name the engine with --runtime"


class Earlier(Struct, frozen=True, kw_only=True):
    """The engine that was set up before, and its socket on the host."""

    name: EngineName
    socket: str


class Choice(Struct, frozen=True, kw_only=True):
    """An engine, and why it was chosen."""

    name: EngineName
    why: str


def chosen_runtime(settings: Settings, root: HostRoot, earlier: Earlier | None = None) -> Choice:
    """Return the engine to set up, and why.

    An earlier choice stays while that engine answers and no kubelet names another, so a stopped
    kubelet does not change the engine. Raises EngineNotFoundError if no engine answers, or several
    unrelated ones do.
    """
    if settings.runtime is not None:
        return Choice(name=settings.runtime, why="named by --runtime or RUNTIME")
    table = ProcFs(root.proc, root.root)
    view = HostFilesView(root)
    served = kubelet.endpoint(table, view)
    if served is not None:
        named = _engine_of_kubelet(served, root, table)
        if named is not None:
            return Choice(name=named, why=f"the kubelet uses {served}")
    deadline = time.monotonic() + _SECONDS
    if earlier is not None and _behind(earlier.name, earlier.socket, root, table, deadline).answers:
        return Choice(name=earlier.name, why="it was set up before")
    looked = {
        name: _answering(name, engine.socket.path, root, table, deadline)
        for name, engine in settings.engines.items()
    }
    answering = {name: each.located for name, each in looked.items() if each.located is not None}
    if not answering:
        _refuse_permanent_problem(root, tuple(looked.values()))
    reasons = tuple(each.reason for each in looked.values())
    chosen = choose(answering, Surroundings(root=root, table=table, view=view), reasons)
    if len(answering) == 1:
        return Choice(name=chosen, why="no other engine answers")
    return Choice(name=chosen, why="it uses the containerd that also answers")


class _Look(Struct, frozen=True, kw_only=True):
    """The result for one socket: an engine, or why there is none."""

    located: Located | None = None
    reason: str = ""
    fix: str = ""
    """How to fix a problem that waiting does not solve."""

    @property
    def answers(self) -> bool:
        return self.located is not None


def _refuse_permanent_problem(root: HostRoot, looks: tuple[_Look, ...]) -> None:
    """Raise EngineNotFoundError for a problem that starting an engine does not solve."""
    if root.root == "/" and own_root_is_container_image(root.proc):
        raise EngineNotFoundError(*NO_HOST_ROOT)
    fixes = dict.fromkeys(each.fix for each in looks if each.fix)
    if fixes:
        reasons = "; ".join(each.reason for each in looks)
        raise EngineNotFoundError(f"no engine can be set up here: {reasons}", "; ".join(fixes))


class Surroundings(Struct, frozen=True, kw_only=True):
    """What is needed to find out whether one engine uses another."""

    root: HostRoot
    table: ProcessTable
    view: HostView


def choose(
    answering: dict[EngineName, Located], node: Surroundings, tried: tuple[str, ...]
) -> EngineName:
    """Choose among the engines that answer; raises EngineNotFoundError as ``chosen_runtime``.

    ``tried`` has the reason for each socket where none answers.
    """
    if not answering:
        raise EngineNotFoundError(
            f"no engine answers on this node: {'; '.join(tried)}",
            "start it, or name it with --runtime and --socket",
        )
    if set(answering) == {EngineName.CONTAINERD, EngineName.DOCKER}:
        dockerd = answering[EngineName.DOCKER].process
        if dockerd is None or _uses(dockerd, answering[EngineName.CONTAINERD], node):
            return EngineName.DOCKER
    if len(answering) > 1:
        found = " and ".join(f"{name} on {each.socket}" for name, each in answering.items())
        raise EngineNotFoundError(f"several engines answer: {found}", _NAME_IT)
    return next(iter(answering))


def _answering(
    name: EngineName, given: str, root: HostRoot, table: ProcessTable, deadline: float
) -> _Look:
    """Look at the socket that the user gave for an engine, or at its usual one."""
    try:
        socket = root.host_path(given)
    except HostPathError as error:
        return _Look(reason=error.message, fix=error.hint)
    return _behind(name, socket, root, table, deadline)


def _behind(
    name: EngineName, socket: str, root: HostRoot, table: ProcessTable, deadline: float
) -> _Look:
    """Look at a socket; a process that is not visible from here counts as an answer."""
    try:
        located = Locator(name, root, table).locate(socket, deadline)
    except HostPathError as error:
        return _Look(reason=error.message, fix=error.hint)
    if located.unreachable is not None:
        return _Look(reason=located.unreachable)
    if located.stranger is not None and not located.invisible:
        return _Look(reason=located.stranger, fix=located.fix)
    return _Look(located=located)


def _engine_of_kubelet(socket: str, root: HostRoot, table: ProcessTable) -> EngineName | None:
    """Return the engine behind the kubelet's socket: by its process, else by the socket's name."""
    deadline = time.monotonic() + _SECONDS
    for name in (each for each in EngineName if peer.greeting_of(each) == peer.GRPC_GREETING):
        try:
            located = Locator(name, root, table).locate(socket, deadline)
        except HostPathError:
            break
        if located.process is not None:
            return name
    return kubelet.engine_of(socket)


def _uses(dockerd: EngineProcess, containerd: Located, node: Surroundings) -> bool:
    """Return whether dockerd runs its containers with this containerd.

    Without an address dockerd uses the system's containerd if its socket exists at the start, and
    starts a child otherwise (moby, cmd/dockerd: initContainerd).
    """
    address = path_option(dockerd.arguments, "--containerd") or _configured(dockerd, node.view)
    if address is not None:
        return _is_socket_of(address, containerd, node)
    if containerd.process is not None and containerd.process.parent_pid == dockerd.pid:
        return True
    own_child = any(
        each.parent_pid == dockerd.pid and posixpath.basename(each.executable or "") == "containerd"
        for each in node.table.all()
    )
    system = plain_row(EngineName.CONTAINERD).sockets[0]
    return not own_child and _is_socket_of(system, containerd, node)


def _is_socket_of(address: str, containerd: Located, node: Surroundings) -> bool:
    """Return whether a socket is this containerd's: the same file, or the same process behind it.

    A socket mounted into our container has another name there.
    """
    if node.root.resolve(address) == node.root.resolve(containerd.socket):
        return True
    if containerd.process is None:
        return False
    locator = Locator(EngineName.CONTAINERD, node.root, node.table)
    there = locator.locate(address, time.monotonic() + _SECONDS).process
    return there is not None and there.pid == containerd.process.pid


def _configured(dockerd: EngineProcess, view: HostView) -> str | None:
    """Return the address in dockerd's config file."""
    named = path_option(dockerd.arguments, "--config-file")
    content = view.read(named or plain_row(EngineName.DOCKER).top_level)
    try:
        address = json.loads(content or b"{}").get("containerd")
    except (ValueError, AttributeError):
        return None
    return address.removeprefix("unix://") if isinstance(address, str) and address else None
