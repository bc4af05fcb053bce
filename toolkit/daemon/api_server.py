"""What the cluster's API server reports: one GET of our DaemonSet, and one of the node.

Uses the pod's own service account. Loads ssl, so it is imported only when a daemon in a cluster
stops.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

from msgspec import Struct

_LARGEST = 8 * 1024 * 1024
"""Bytes of one answer; etcd holds no object above 1.5 MiB by default."""
_REASONS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: ": the pod's token is not valid, as after an uninstall",
    HTTPStatus.FORBIDDEN: ": the pod's service account has no right to ask, as after an uninstall",
}


class NoAnswerError(Exception):
    """The API server gave no answer; the text is the reason."""


class OurPod(Struct, frozen=True, kw_only=True):
    """What the pod's variables say about it."""

    host: str
    port: str
    namespace: str
    daemon_set: str
    node: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return it from the pod's variables. Raises NoAnswerError where one is missing."""
        names = ("POD_NAMESPACE", "DAEMONSET_NAME", "NODE_NAME")
        missing = [name for name in names if not environment.get(name)]
        if missing:
            raise NoAnswerError(f"{', '.join(missing)} not set in the pod")
        return cls(
            host=environment["KUBERNETES_SERVICE_HOST"],
            port=environment.get("KUBERNETES_SERVICE_PORT") or "443",
            namespace=environment["POD_NAMESPACE"],
            daemon_set=environment["DAEMONSET_NAME"],
            node=environment["NODE_NAME"],
        )


class ApiServer:
    """One connection to the API server, without any proxy and without following a redirect."""

    def __init__(self, pod: OurPod, deadline: float, account: str) -> None:
        """Read the token and the CA in ``account``; no connection yet. Raises NoAnswerError."""
        self._deadline = deadline
        try:
            # Not create_default_context: from Python 3.13 on it rejects the CAs of many clusters,
            # which have no authority key identifier.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=f"{account}/ca.crt")
            with open(f"{account}/token", encoding="ascii") as file:
                self._token = _one_line(file.read().strip(), f"{account}/token")
            self._connection = http.client.HTTPSConnection(
                pod.host, int(pod.port), timeout=self._left(), context=context
            )
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise NoAnswerError(f"the service account can't be used: {error}") from error

    def get(self, path: str) -> dict[str, Any] | None:
        """Return an object; None where it does not exist. Raises NoAnswerError."""
        try:
            self._connection.timeout = self._left()
            if self._connection.sock is not None:
                self._connection.sock.settimeout(self._left())
            headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
            self._connection.request("GET", path, headers=headers)
            answer = self._connection.getresponse()
            body = answer.read(_LARGEST)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswerError(
                f"the API server can't be asked: {str(error) or repr(error)}"
            ) from error
        document = _document(body)
        if answer.status == HTTPStatus.OK and document.get("metadata"):
            return document
        if answer.status == HTTPStatus.NOT_FOUND and document.get("reason") == "NotFound":
            return None
        known = _REASONS.get(answer.status, "")
        raise NoAnswerError(f"the API server answers {answer.status} {answer.reason}{known}")

    def daemon_set(self, pod: OurPod) -> dict[str, Any] | None:
        """Return our DaemonSet; None where it does not exist. Raises NoAnswerError."""
        namespace, name = quote(pod.namespace, safe=""), quote(pod.daemon_set, safe="")
        return self.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}")

    def node(self, pod: OurPod) -> dict[str, Any] | None:
        """Return our node; None where it does not exist. Raises NoAnswerError."""
        return self.get(f"/api/v1/nodes/{quote(pod.node, safe='')}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NoAnswerError("the API server took too long")
        return left


def _one_line(token: str, path: str) -> str:
    """Return a token that fits a header; http.client would show any other in its error."""
    if not token.isprintable():
        raise ValueError(f"{path} holds more than one line")
    return token


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
