"""A cluster's API server with one DaemonSet and one node, over TLS with a CA of its own."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TOKEN = "the-pods-token"  # noqa: S105 - of a fake
NAMESPACE, NAME, NODE = "nvidia-toolkit", "nvidia-toolkit-installer", "worker-1"
DAEMON_SET_PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{NAME}"
NODE_PATH = f"/api/v1/nodes/{NODE}"
LABEL = "nvidia.com/gpu.present"


def daemon_set(**pod_spec: object) -> dict[str, Any]:
    """Return the DaemonSet, which selects nodes with the label unless the pod's spec is given."""
    spec = pod_spec or {"nodeSelector": {LABEL: "true"}}
    return {"metadata": {"name": NAME}, "spec": {"template": {"spec": spec}}}


def node(*taints: Mapping[str, str], **labels: str) -> dict[str, Any]:
    """Return the node; without labels it has the one that the DaemonSet selects."""
    metadata = {"name": NODE, "labels": labels or {LABEL: "true"}}
    return {"metadata": metadata, "spec": {"taints": list(taints)}}


class FakeApiServer:
    """Serves what ``objects`` holds, by path, to whoever has the token."""

    def __init__(self, directory: Path) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            DAEMON_SET_PATH: daemon_set(),
            NODE_PATH: node(),
        }
        self.status: int | None = None
        """What is answered instead of an object."""
        self.delay = 0.0
        """Seconds before each answer."""
        self.drips = False
        """An answer comes byte by byte and never ends."""
        self.asked: list[str] = []
        self.account = directory / "serviceaccount"
        """The token and the CA, as the kubelet mounts them."""
        certificate, key = make_certificates(directory, self.account)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drips = False
        self.stop()

    def stop(self) -> None:
        """Take no connection any more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What a pod of the DaemonSet is told."""
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._server.server_address[1]),
            "POD_NAMESPACE": NAMESPACE,
            "DAEMONSET_NAME": NAME,
            "NODE_NAME": NODE,
        }

    def delete(self, *, foreground: bool = False) -> None:
        """Delete the DaemonSet; in the foreground it stays until its pods are gone."""
        if foreground:
            stamp = {"deletionTimestamp": "2026-11-28T11:00:00Z"}
            self.objects[DAEMON_SET_PATH]["metadata"] |= stamp
        else:
            del self.objects[DAEMON_SET_PATH]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeApiServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that does not trust the certificate hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer as the API server does."""
        fake = self.server.fake
        fake.asked.append(self.path)
        time.sleep(fake.delay)
        status, body = self._answer(fake)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        while fake.drips:
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)
        self.wfile.write(content)

    def _answer(self, fake: FakeApiServer) -> tuple[int, dict[str, Any]]:
        if fake.status is not None:
            return fake.status, _status("Forbidden", fake.status)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, _status("Unauthorized", 401)
        found = fake.objects.get(self.path)
        return (404, _status("NotFound", 404)) if found is None else (200, found)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _status(reason: str, code: int) -> dict[str, Any]:
    return {"kind": "Status", "metadata": {}, "reason": reason, "code": code}


def make_certificates(directory: Path, account: Path) -> tuple[Path, Path]:
    """Make a CA and a server's certificate; the account gets the CA and a token."""
    account.mkdir(parents=True)
    (account / "token").write_text(TOKEN)
    key, certificate = directory / "server.key", directory / "server.crt"
    request, extensions = directory / "server.csr", directory / "server.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca, ca_key = account / "ca.crt", directory / "ca.key"
    for command in (
        ("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-subj", "/CN=ca", "-days", "2"),
        ("req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=kube-apiserver"),
        (
            *("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial"),
            *("-out", certificate, "-days", "2", "-extfile", extensions),
        ),
    ):
        subprocess.run(("/usr/bin/openssl", *command), check=True, capture_output=True)
    return certificate, key
