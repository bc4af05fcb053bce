"""Choose the engine of this node when the user names none."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable

from msgspec import Struct

from runtime_configs.distros.table import plain_row
from runtime_configs.model import EngineName, HostView
from toolkit.engine.facts import EngineProcess
from toolkit.engine.process import kubelet, peer
from toolkit.engine.process.daemon_arguments import path_option
from toolkit.engine.process.known_strangers import Stranger
from toolkit.engine.process.locate import EngineSocket, Located
from toolkit.errors import EngineNotFoundError, HostPathError
from toolkit.host.clock import UninterruptedClock
from toolkit.host.given_mounts import NO_HOST_ROOT, own_root_is_container_image
from toolkit.host.paths import HostRoot
from toolkit.host.processes import ProcessTable
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
    node = Surroundings(
        root=root, table=ProcessTable(root.proc, root.root), view=HostFilesView(root)
    )
    served = kubelet.endpoint(node.table, node.view)
    if served is not None:
        named = _engine_of_kubelet(served, node)
        if named is not None:
            return Choice(name=named, why=f"the kubelet uses {served}")
    deadline = _soon()
    if earlier is not None and _answers(_look(earlier.name, earlier.socket, node, deadline)):
        return Choice(name=earlier.name, why="it was set up before")
    looks = {
        name: _look(name, engine.socket.path, node, deadline, given=True)
        for name, engine in settings.engines.items()
    }
    answering = {name: each for name, each in looks.items() if _answers(each)}
    if not answering:
        raise _no_engine(root, looks.values())
    chosen = choose(answering, node)
    if len(answering) == 1:
        return Choice(name=chosen, why="no other engine answers")
    return Choice(name=chosen, why="it uses the containerd that also answers")


def _answers(located: Located) -> bool:
    """Return whether an engine answers; one whose process is not visible from here counts."""
    return located.process is not None or located.invisible


def _no_engine(root: HostRoot, looks: Iterable[Located]) -> EngineNotFoundError:
    """Return why no engine answers, with the fix of a problem that starting one does not solve."""
    if root.root == "/" and own_root_is_container_image(root.proc):
        return EngineNotFoundError(*NO_HOST_ROOT)
    reasons = "; ".join(each.obstacle or "" for each in looks)
    fixes = dict.fromkeys(each.stranger.fix for each in looks if each.stranger is not None)
    fix = "; ".join(filter(None, fixes))
    if fix:
        return EngineNotFoundError(f"no engine can be set up here: {reasons}", fix)
    return EngineNotFoundError(
        f"no engine answers on this node: {reasons}",
        "start it, or name it with --runtime and --socket",
    )


class Surroundings(Struct, frozen=True, kw_only=True):
    """What is needed to find out whether one engine uses another."""

    root: HostRoot
    table: ProcessTable
    view: HostView


def choose(answering: dict[EngineName, Located], node: Surroundings) -> EngineName:
    """Choose among engines that answer; raises EngineNotFoundError if several unrelated ones do."""
    if set(answering) == {EngineName.CONTAINERD, EngineName.DOCKER}:
        dockerd = answering[EngineName.DOCKER].process
        if dockerd is None or _uses(dockerd, answering[EngineName.CONTAINERD], node):
            return EngineName.DOCKER
    if len(answering) > 1:
        found = " and ".join(f"{name} on {each.socket}" for name, each in answering.items())
        raise EngineNotFoundError(f"several engines answer: {found}", _NAME_IT)
    return next(iter(answering))


def _soon() -> float:
    return UninterruptedClock().now() + _SECONDS


def _look(
    name: EngineName, path: str, node: Surroundings, deadline: float, *, given: bool = False
) -> Located:
    """Look at an engine's socket on the host; ``given``: its path is the user's, or a usual one."""
    try:
        path = node.root.host_path(path) if given else path
        return EngineSocket(name, path, node.root, node.table).locate(deadline)
    except HostPathError as error:
        return Located(socket=path, stranger=Stranger(why=error.message, fix=error.hint))


def _engine_of_kubelet(socket: str, node: Surroundings) -> EngineName | None:
    """Return the engine behind the kubelet's socket: by its process, else by the socket's name."""
    deadline = _soon()
    for name in (each for each in EngineName if peer.greeting_of(each) == peer.GRPC_GREETING):
        if _look(name, socket, node, deadline).process is not None:
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
    there = _look(EngineName.CONTAINERD, address, node, _soon()).process
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
