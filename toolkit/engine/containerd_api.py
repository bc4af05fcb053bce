"""What containerd is asked, over its own API and the CRI. Loads grpc: imported when needed."""

from __future__ import annotations

from collections.abc import Callable

from runtime_configs.model import ConfigError, EffectiveConfig
from toolkit.engine import own_container
from toolkit.engine.answers import LiveAnswer, Served
from toolkit.engine.containerd_client import ContainerdClient, RunningContainer
from toolkit.engine.cri_client import CriClient
from toolkit.engine.rpc import Connection, RpcError
from toolkit.errors import EngineNotFoundError, EngineRejectedError
from toolkit.host.processes import ProcessTable


def ask(access: str, socket: str, deadline: float) -> LiveAnswer:
    """Ask the version and the effective CRI config; ``socket`` is the host's name of ``access``.

    Raises EngineNotFoundError where something else than containerd answers, else RpcError.
    """
    with Connection(access, deadline) as connection:
        try:
            version = ContainerdClient(connection).version()
        except RpcError as error:
            if not error.unimplemented:
                raise
            raise EngineNotFoundError(
                f"{socket} does not answer containerd's API", "check --runtime and --socket"
            ) from error
        try:
            config = CriClient(connection).status().config
        except RpcError as error:
            if error.timed_out:
                raise
            # Without its CRI plugin containerd still tells its version, and the next source
            # of the config tells why the plugin is not there.
            config = None
    return LiveAnswer(version=version, config=config)


def answers(access: str, deadline: float) -> bool:
    """Whether the CRI says that the runtime is ready; a CRI that is disabled counts as well."""
    with Connection(access, deadline) as connection:
        try:
            return CriClient(connection).status().ready
        except RpcError as error:
            return error.unimplemented


def served(
    access: str, socket: str, decode: Callable[[bytes], EffectiveConfig], deadline: float
) -> Served:
    """Ask which handlers are served. Raises EngineRejectedError where waiting won't mend it."""
    with Connection(access, deadline) as connection:
        cri = CriClient(connection)
        try:
            cri.version()
            status = cri.status()
        except RpcError as error:
            if not error.unimplemented:
                return Served(config=None, pending=error.message)
            raise _without_cri(ContainerdClient(connection), socket) from error
    if not status.ready:
        return Served(config=None, pending=f"the runtime is not ready: {status.reason}")
    if status.config is None:
        return Served(config=None, pending="its CRI status says nothing of its config")
    try:
        config = decode(status.config)
    except ConfigError as error:
        raise EngineRejectedError(f"containerd's CRI status can't be read: {error}") from error
    return Served(config=config, listed=status.handlers)


def containers(access: str, deadline: float) -> tuple[RunningContainer, ...]:
    """Return the containers of all namespaces. Raises RpcError."""
    with Connection(access, deadline) as connection:
        return ContainerdClient(connection).containers()


def own_container_running(access: str, table: ProcessTable, deadline: float) -> bool | None:
    """Say whether the CRI reports our own container as running; None where that can't be told."""
    with Connection(access, deadline) as connection:
        return own_container.ask(CriClient(connection), own_container.traces(table))


def _without_cri(client: ContainerdClient, socket: str) -> EngineRejectedError:
    """Tell why there is no CRI: it could not be loaded, or it is disabled."""
    try:
        reason = client.cri_error()
    except RpcError as error:
        reason = error.message
    if reason is not None:
        return EngineRejectedError(f"containerd could not load its CRI plugin: {reason}")
    return EngineRejectedError(
        f"containerd on {socket} has its CRI plugin disabled: no pod can use a handler",
        'remove "cri" from disabled_plugins in its config',
    )
