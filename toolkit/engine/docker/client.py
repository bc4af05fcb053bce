"""A client of the Docker Engine API, for the calls in use; the same from 20.10 to 28.5."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Self, cast
from urllib.parse import quote

from msgspec import Struct

from toolkit.engine import wait
from toolkit.engine.http_unix import MissingResourceError, UnixConnection
from toolkit.errors import EngineNotFoundError, EngineTimeoutError

_RELOADS = quote('{"type":{"daemon":true},"event":{"reload":true}}')


class DockerInfo(Struct, frozen=True, kw_only=True):
    """dockerd's present configuration."""

    version: str
    default: str
    paths: dict[str, str]
    """Runtime name to the path of its binary, or to its bare name."""
    body: bytes
    """The whole answer."""


class DockerContainer(Struct, frozen=True, kw_only=True):
    """One container, running or not."""

    identifier: str
    name: str
    runtime: str
    pid: int
    """PID of its first process; 0 if it does not run."""


class DockerClient:
    """The Engine API over one socket; ``socket_name`` is the socket's host path."""

    def __init__(
        self,
        access: str,
        socket_name: str,
        deadline: float,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._connection = UnixConnection(access, socket_name, deadline, check)
        self._socket_name = socket_name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def info(self) -> DockerInfo:
        """Return the present configuration. Raises EngineTimeoutError, EngineNotFoundError."""
        body = self._connection.call("GET", "/info")
        answer = self._object(body)
        if "ServerVersion" not in answer:
            raise EngineNotFoundError(f"{self._socket_name}: /info is not an answer of dockerd")
        runtimes = cast("dict[str, dict[str, object]]", answer.get("Runtimes") or {})
        return DockerInfo(
            version=str(answer["ServerVersion"]),
            default=str(answer.get("DefaultRuntime", "")),
            paths={name: str(table.get("path", "")) for name, table in runtimes.items()},
            body=body,
        )

    def containers(self) -> tuple[DockerContainer, ...]:
        """Return all containers with their runtimes."""
        body = self._connection.call("GET", "/containers/json?all=1")
        listed = cast("list[dict[str, object]]", json.loads(body))
        found = (self._container(str(entry["Id"])) for entry in listed)
        return tuple(each for each in found if each is not None)

    def smallest_image(self) -> str | None:
        """Return the ID of the smallest local image; None if there is none."""
        listed = json.loads(self._connection.call("GET", "/images/json"))
        sizes = {str(each["Id"]): int(each.get("Size") or 0) for each in listed or ()}
        return min(sizes, key=sizes.__getitem__, default=None)

    def create(self, name: str, document: object) -> str:
        """Create a container and return its ID."""
        answer = self._connection.call("POST", f"/containers/create?name={quote(name)}", document)
        return str(self._object(answer)["Id"])

    def start(self, identifier: str) -> str:
        """Start a container; return the name of its runtime."""
        self._connection.call("POST", f"/containers/{identifier}/start", {})
        found = self._container(identifier)
        return "" if found is None else found.runtime

    def labelled(self, label: str) -> tuple[str, ...]:
        """Return the IDs of the containers with a label, running or not."""
        chosen = quote(json.dumps({"label": [label]}))
        body = self._connection.call("GET", f"/containers/json?all=1&filters={chosen}")
        return tuple(str(each["Id"]) for each in json.loads(body) or ())

    def remove(self, identifier: str) -> None:
        """Stop and remove a container; a missing one is not an error."""
        target = f"/containers/{identifier}?force=1&v=1"
        with contextlib.suppress(MissingResourceError):
            self._connection.call("DELETE", target)

    def _container(self, identifier: str) -> DockerContainer | None:
        """Return one container; None if it was removed after it was listed."""
        try:
            body = self._connection.call("GET", f"/containers/{identifier}/json")
        except MissingResourceError:
            return None
        answer = self._object(body)
        configured = cast("dict[str, object]", answer.get("HostConfig") or {})
        name = str(answer.get("Name", "")).removeprefix("/")
        state = cast("dict[str, object]", answer.get("State") or {})
        pid = state.get("Pid")
        return DockerContainer(
            identifier=identifier,
            name=f"{name} ({identifier[:12]})",
            runtime=str(configured.get("Runtime") or ""),
            pid=pid if isinstance(pid, int) else 0,
        )

    def _object(self, body: bytes) -> dict[str, object]:
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise EngineNotFoundError(
                f"{self._socket_name} does not answer JSON: {error}"
            ) from error
        return answer if isinstance(answer, dict) else {}


class ReloadEvents:
    """The event that dockerd sends after it has reloaded its config.

    Subscribe before the signal. A reload that fails sends none (tried with 20.10, 26.1 and 28.5).
    """

    def __init__(self, access: str, socket_name: str, deadline: float) -> None:
        """Subscribe. Raises EngineTimeoutError if dockerd does not answer."""
        self._received = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(wait.left(deadline))
        request = f"GET /events?filters={_RELOADS} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        try:
            self._socket.connect(access)
            self._socket.sendall(request.encode())
            # The header arrives once dockerd has subscribed us.
            while b"\r\n\r\n" not in self._received:
                self._receive()
        except OSError as error:
            self._socket.close()
            raise EngineTimeoutError(f"{socket_name}: GET /events: {error}") from error
        del self._received[: self._received.index(b"\r\n\r\n")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def arrived(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the event. Raises ConnectionError if dockerd is gone."""
        self._socket.settimeout(max(0.001, seconds))
        try:
            while b'"reload"' not in self._received:
                self._receive()
        except TimeoutError:
            return False
        return True

    def _receive(self) -> None:
        chunk = self._socket.recv(4096)
        if not chunk:
            raise ConnectionError("dockerd closed the connection")
        self._received += chunk
