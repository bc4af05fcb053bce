"""What CRI-O is asked, over the CRI and its own HTTP service on the same socket.

Loads grpc: imported when needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from runtime_configs.model import ConfigError, EffectiveConfig
from toolkit.engine.answers import LiveAnswer, Served
from toolkit.engine.cri_client import CriClient, Sandbox
from toolkit.engine.http_unix import UnixConnection, get
from toolkit.engine.rpc import Connection, RpcError
from toolkit.errors import EngineNotFoundError, EngineRejectedError, ToolkitError

_HANDLER = "io.kubernetes.cri-o.RuntimeHandler"


def ask(access: str, socket: str, deadline: float) -> LiveAnswer:
    """Ask the version and the effective config; ``socket`` is the host's name of ``access``."""
    with Connection(access, deadline) as connection:
        try:
            name, version = CriClient(connection).version()
        except RpcError as error:
            if not error.unimplemented:
                raise
            raise EngineNotFoundError(
                f"{socket} does not answer the CRI", "check --runtime and --socket"
            ) from error
    if name != "cri-o":
        raise EngineNotFoundError(f"{socket} is {name}'s", "check --runtime and --socket")
    return LiveAnswer(version=version, config=config(access, socket, deadline))


def config(access: str, socket: str, deadline: float) -> bytes:
    """Return the effective config as TOML, which is what ``crio status config`` prints."""
    connection = UnixConnection(access, deadline)
    try:
        return get(connection, "/config", socket)
    finally:
        connection.close()


def answers(access: str, deadline: float) -> bool:
    """Whether the CRI says that the runtime is ready."""
    with Connection(access, deadline) as connection:
        try:
            return CriClient(connection).status().ready
        except RpcError:
            return False


def served(
    access: str, socket: str, decode: Callable[[bytes], EffectiveConfig], deadline: float
) -> Served:
    """Ask which handlers are served. Raises EngineRejectedError where waiting won't mend it."""
    try:
        with Connection(access, deadline) as connection:
            status = CriClient(connection).status()
        text = config(access, socket, deadline)
    except ToolkitError as error:
        return Served(config=None, pending=error.message)
    if not status.ready:
        return Served(config=None, pending=f"the runtime is not ready: {status.reason}")
    try:
        return Served(config=decode(text), listed=status.handlers)
    except ConfigError as error:
        raise EngineRejectedError(f"CRI-O's config can't be read: {error}") from error


def sandboxes(access: str, deadline: float) -> tuple[Sandbox, ...]:
    """Return every pod sandbox with its handler. Raises RpcError, EngineRejectedError."""
    with Connection(access, deadline) as connection:
        client = CriClient(connection)
        return tuple(
            replace(sandbox, handler=handler)
            for sandbox in client.sandboxes()
            if (handler := sandbox.handler or _handler(client, sandbox)) is not None
        )


def _handler(client: CriClient, sandbox: Sandbox) -> str | None:
    """Return the handler that a sandbox was made with; empty: the default one. None: it is gone.

    CRI-O lists sandboxes without it; it is an annotation of the sandbox's own spec.
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
