"""Start a container briefly with a handler, and find out which runtime dockerd used.

Nothing is pulled. A container of the smallest local image runs dockerd's init, which prints its
version. If dockerd has no init, the image's own command runs, without network, capabilities or
anything writable. The container carries a label, so whatever a failure, a signal or a kill leaves
is removed by the next run at the latest.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from toolkit.engine.docker.client import DockerClient
from toolkit.engine.facts import Trial
from toolkit.errors import EngineNotFoundError, ToolkitError

LABEL = "nvidia-toolkit.installer"
"""Marks our containers."""
REMOVAL_SECONDS = 10.0
"""Seconds for the removal; a deadline that has passed does not shorten it."""
_INIT = "/sbin/docker-init"
"""Where dockerd mounts its init in a container."""
_NO_INIT = '"docker-init"'
"""Part of dockerd's error when its init is missing, which comes before it needs the runtime."""

Connect = Callable[[float, Callable[[], None] | None], DockerClient]
"""Opens a connection with a deadline and a check that may abort its calls."""


def run(
    connect: Connect, handlers: Sequence[str], check: Callable[[], None], deadline: float
) -> Iterator[Trial]:
    """Start, inspect and remove a container for each handler, empty for the default one.

    Raises ToolkitError if the remains of an earlier run cannot be removed, and whatever ``check``
    raises, after the removal.
    """
    sweep(connect)
    for handler in handlers:
        check()
        try:
            trial = _started(connect, handler, check, deadline)
        except ToolkitError as error:
            trial = Trial(handler=handler, failure=error.message)
        finally:
            # Also when a signal ends the run; then a failed removal is not reported.
            failed = _sweep_failure(connect)
        yield replace(trial, failure="; ".join(filter(None, (trial.failure, failed))))


def sweep(connect: Connect) -> None:
    """Remove all our containers. Raises ToolkitError."""
    with connect(time.monotonic() + REMOVAL_SECONDS, None) as client:
        for each in client.labelled(LABEL):
            client.remove(each)


def _sweep_failure(connect: Connect) -> str:
    try:
        sweep(connect)
    except ToolkitError as error:
        return f"its container could not be removed: {error.message}"
    return ""


def _started(connect: Connect, handler: str, check: Callable[[], None], deadline: float) -> Trial:
    with connect(deadline, check) as client:
        image = client.smallest_image()
        if image is None:
            return Trial(handler=handler, untried="dockerd has no image to create a container from")
        try:
            name = _start(client, image, handler, {"Entrypoint": [_INIT], "Cmd": ["--version"]})
        except EngineNotFoundError as error:
            if _NO_INIT not in error.message:
                raise
            name = _start(client, image, handler, None)
        return Trial(handler=handler, binary=client.info().paths.get(name) or None)


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
