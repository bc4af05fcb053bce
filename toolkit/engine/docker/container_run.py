"""Start a container with a handler, and find out which runtime dockerd used.

Nothing is pulled. A container of the smallest local image runs dockerd's init, which prints its
version. If dockerd has no init, the image's own command runs, without network, capabilities or
anything writable.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from toolkit.engine.docker.client import DockerClient
from toolkit.engine.facts import HandlerRun
from toolkit.engine.handler_runs import REMOVAL_SECONDS
from toolkit.errors import EngineNotFoundError, EngineTimeoutError
from toolkit.host.clock import Clock, UninterruptedClock

LABEL = "nvidia-toolkit.installer"
"""Marks our containers."""
_INIT = "/sbin/docker-init"
"""Where dockerd mounts its init in a container."""
_NO_INIT = '"docker-init"'
"""Part of dockerd's error when its init is missing, which comes before it needs the runtime."""

Connect = Callable[[float, Callable[[], None] | None], DockerClient]
"""Opens a connection with a deadline and a check that may abort its calls."""


def start(connect: Connect, handler: str, clock: Clock, deadline: float) -> HandlerRun:
    """Start a container with a handler, empty for the default one; it stays until ``sweep``.

    Raises whatever ``clock.check`` raises.
    """
    try:
        with connect(deadline, clock.check) as client:
            return _started(client, handler)
    except (EngineNotFoundError, EngineTimeoutError) as error:
        return HandlerRun(handler=handler, failure=error.message)


def sweep(connect: Connect) -> None:
    """Remove all our containers. Raises EngineNotFoundError, EngineTimeoutError."""
    with connect(UninterruptedClock().now() + REMOVAL_SECONDS, None) as client:
        for each in client.labelled(LABEL):
            client.remove(each)


def _started(client: DockerClient, handler: str) -> HandlerRun:
    image = client.smallest_image()
    if image is None:
        return HandlerRun(
            handler=handler, untried="dockerd has no image to create a container from"
        )
    try:
        name = _start(client, image, handler, {"Entrypoint": [_INIT], "Cmd": ["--version"]})
    except EngineNotFoundError as error:
        if _NO_INIT not in error.message:
            raise
        name = _start(client, image, handler, None)
    return HandlerRun(handler=handler, binary=client.info().paths.get(name) or None)


def _start(
    client: DockerClient, image: str, handler: str, command: dict[str, object] | None
) -> str:
    """Start a confined container; return the name of its runtime.

    Without ``command``, which runs dockerd's init, the image's own command runs.
    """
    document: dict[str, object] = {
        "Image": image,
        "Labels": {LABEL: "verify"},
        "HostConfig": {
            "Init": command is not None,
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            **({"Runtime": handler} if handler else {}),
        },
        **(command or {}),
    }
    return client.start(client.create(f"nvidia-toolkit-verify-{uuid.uuid4().hex[:12]}", document))
