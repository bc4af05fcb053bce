"""A host on which nothing can be started aside."""

from __future__ import annotations

from toolkit.host.sandbox import Sandbox, SandboxUnavailableError


def no_sandbox() -> Sandbox:
    """Refuse, as a process without CAP_SYS_ADMIN has it."""
    raise SandboxUnavailableError("unshare: Operation not permitted")
