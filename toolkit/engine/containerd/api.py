"""Query containerd over its own API and the CRI. Loads grpc: import it only when needed."""

from __future__ import annotations

from toolkit.engine.containerd.client import ContainerdClient, RunningContainer
from toolkit.engine.cri.client import CriClient
from toolkit.engine.facts import Lack, LackKind, LiveAnswer
from toolkit.engine.rpc import Connection, RpcError
from toolkit.errors import EngineNotFoundError


def ask(access: str, socket: str, deadline: float) -> LiveAnswer:
    """Query the version and what is served; ``socket`` is the host path of ``access``.

    Raises EngineNotFoundError if something other than containerd answers, RpcError otherwise.
    """
    with Connection(access, deadline) as connection:
        client, cri = ContainerdClient(connection), CriClient(connection)
        try:
            version = client.version()
        except RpcError as error:
            if not error.unimplemented:
                raise
            raise EngineNotFoundError(
                f"{socket} does not answer containerd's API", "check --runtime and --socket"
            ) from error
        try:
            cri.version()
            status = cri.status()
        except RpcError as error:
            if error.timed_out:
                raise
            # Without its CRI plugin containerd still reports its version.
            without = error.unimplemented
            lack = _without_cri(client, socket) if without else Lack(reason=error.message)
            return LiveAnswer(version=version, lack=lack)
    return LiveAnswer(
        version=version,
        config=status.config,
        listed=status.handlers,
        lack=status.lack,
    )


def containers(access: str, deadline: float) -> tuple[RunningContainer, ...]:
    """Return the containers of all namespaces. Raises RpcError."""
    with Connection(access, deadline) as connection:
        try:
            listed = CriClient(connection).containers()
        except RpcError as error:
            if not error.unimplemented:
                raise
            listed = ()
        sandboxes = {each.identifier: each.sandbox for each in listed}
        return ContainerdClient(connection).containers(sandboxes)


def _without_cri(client: ContainerdClient, socket: str) -> Lack:
    """Return why there is no CRI: it could not be loaded, or it is disabled."""
    try:
        reason = client.cri_error()
    except RpcError as error:
        return Lack(reason=error.message)
    if reason is not None:
        return Lack(
            kind=LackKind.FAILED, reason=f"containerd could not load its CRI plugin: {reason}"
        )
    return Lack(
        kind=LackKind.DISABLED,
        reason=f"containerd on {socket} has its CRI plugin disabled: no pod can use a handler",
        fix='remove "cri" from disabled_plugins in its config; update a containerd before 1.6, '
        "which has no CRI v1",
    )
