"""Start a container through a handler for a moment, and see which runtime dockerd used for it.

Nothing is pulled. In a container of the smallest image that is there the init of dockerd prints its
version; where dockerd has none, the image's own command runs, without network, capabilities or
anything that it could write to. Nothing stays: the container bears a label, and what a failure, a
signal or a kill left is removed, by the next run at the latest.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from toolkit.engine.answers import Trial
from toolkit.engine.docker.client import DockerClient
from toolkit.errors import EngineNotFoundError, ToolkitError

LABEL = "nvidia-toolkit.installer"
"""By which a container of ours is known again."""
REMOVAL_SECONDS = 10.0
"""For the removal: a deadline that has passed does not shorten it."""
_INIT = "/sbin/docker-init"
"""Where dockerd mounts its init into a container that asks for it."""
_NO_INIT = '"docker-init"'
"""In what dockerd says where it does not find its init, before it asks for the runtime."""

Connect = Callable[[float, Callable[[], None] | None], DockerClient]
"""Opens a connection with a deadline and a check that may end its calls."""


def run(
    connect: Connect, handlers: Sequence[str], check: Callable[[], None], deadline: float
) -> Iterator[Trial]:
    """Start, look at and remove a container for each handler, empty for the default one.

    Raises ToolkitError where what an earlier run left can't be removed, and what ``check`` raises,
    after the removal.
    """
    sweep(connect)
    for handler in handlers:
        check()
        try:
            trial = _started(connect, handler, check, deadline)
        except ToolkitError as error:
            trial = Trial(handler=handler, failure=error.message)
        finally:
            # Also on the way out for a signal, which tells nobody of a removal that failed.
            left = _left(connect)
        yield replace(trial, failure="; ".join(filter(None, (trial.failure, left))))


def sweep(connect: Connect) -> None:
    """Remove every container of ours. Raises ToolkitError."""
    with connect(time.monotonic() + REMOVAL_SECONDS, None) as client:
        for each in client.labelled(LABEL):
            client.remove(each)


def _left(connect: Connect) -> str:
    try:
        sweep(connect)
    except ToolkitError as error:
        return f"its container could not be removed: {error.message}"
    return ""


def _started(connect: Connect, handler: str, check: Callable[[], None], deadline: float) -> Trial:
    with connect(deadline, check) as client:
        image = client.smallest_image()
        if image is None:
            return Trial(handler=handler, untried="dockerd has no image to make a container of")
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
    """Start a container, confined; return the name of its runtime.

    Without a command of dockerd's init it is the image's own.
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
