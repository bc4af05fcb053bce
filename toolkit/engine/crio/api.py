"""Query CRI-O over the CRI and its own HTTP service on the same socket.

Loads grpc: import it only when needed.
"""

from __future__ import annotations

import json
from contextlib import closing

from msgspec.structs import replace

from toolkit.engine.cri.client import CriClient, PodSandbox
from toolkit.engine.facts import LiveAnswer
from toolkit.engine.http_unix import UnixConnection
from toolkit.engine.rpc import Connection, RpcError
from toolkit.errors import EngineNotFoundError, EngineRejectedError

_HANDLER = "io.kubernetes.cri-o.RuntimeHandler"


def ask(access: str, socket: str, deadline: float) -> LiveAnswer:
    """Query the version and what is served; ``socket`` is the host path of ``access``.

    Raises EngineNotFoundError if something other than CRI-O answers, RpcError otherwise.
    """
    with Connection(access, deadline) as connection:
        cri = CriClient(connection)
        try:
            name, version = cri.version()
        except RpcError as error:
            if not error.unimplemented:
                raise
            raise EngineNotFoundError(
                f"{socket} does not answer the CRI", "check --runtime and --socket"
            ) from error
        if name != "cri-o":
            raise EngineNotFoundError(f"{socket} belongs to {name}", "check --runtime and --socket")
        status = cri.status()
    return LiveAnswer(
        version=version,
        config=config(access, socket, deadline),
        listed=status.handlers,
        lack=status.lack,
    )


def config(access: str, socket: str, deadline: float) -> bytes:
    """Return the effective config as TOML, as ``crio status config`` prints it."""
    with closing(UnixConnection(access, socket, deadline)) as connection:
        return connection.call("GET", "/config")


def sandboxes(access: str, deadline: float) -> tuple[PodSandbox, ...]:
    """Return every pod sandbox with its handler. Raises RpcError, EngineRejectedError."""
    with Connection(access, deadline) as connection:
        client = CriClient(connection)
        return tuple(
            replace(sandbox, handler=handler)
            for sandbox in client.sandboxes()
            if (handler := sandbox.handler or _handler(client, sandbox)) is not None
        )


def _handler(client: CriClient, sandbox: PodSandbox) -> str | None:
    """Return a sandbox's handler; empty for the default one, None if the sandbox is gone.

    CRI-O lists sandboxes without the handler; it is an annotation in the sandbox's spec.
    """
    try:
        info = client.sandbox_info(sandbox.id)
    except RpcError as error:
        if error.not_found:
            return None
        raise
    try:
        handler = json.loads(info or b"")["runtimeSpec"]["annotations"][_HANDLER]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineRejectedError(
            f"CRI-O does not say which handler the pod {sandbox.name} has"
        ) from error
    return str(handler)
