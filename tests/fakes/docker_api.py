"""A dockerd that is made of answers: for what a real one does only at an unlucky moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from threading import Thread


@dataclass(slots=True, kw_only=True)
class FakeDocker:
    """What it answers."""

    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Name to path; the default one is runc."""
    containers: Mapping[str, str | None] = field(default_factory=dict)
    """Container to its runtime; None: it goes after it was listed."""
    seconds: float = 0.0
    """How long each answer takes."""

    @contextmanager
    def serving(self, path: Path) -> Iterator[None]:
        """Serve on a socket."""
        with ThreadingUnixStreamServer(str(path), self._handler()) as server:
            thread = Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def answer(self, target: str) -> object | None:
        """Return the document at a target; None: there is none."""
        time.sleep(self.seconds)
        if target == "/info":
            runtimes = {name: {"path": path} for name, path in self.runtimes.items()}
            return {"ServerVersion": "28.5.2", "DefaultRuntime": "runc", "Runtimes": runtimes}
        if target.startswith("/containers/json?all=1&filters="):
            return []
        if target == "/containers/json?all=1":
            return [{"Id": name} for name in self.containers]
        name = target.removeprefix("/containers/").removesuffix("/json")
        runtime = self.containers.get(name)
        return runtime and {"Name": f"/{name}", "HostConfig": {"Runtime": runtime}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                document = fake.answer(self.path)
                found = {"message": "No such container"} if document is None else document
                body = json.dumps(found).encode()
                self.send_response(200 if document is not None else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler
