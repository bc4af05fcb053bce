"""A program that is root with few capabilities, as in a container that is not privileged."""

from __future__ import annotations


def with_rights(*capabilities: str) -> tuple[str, ...]:
    """Return what starts a program with these capabilities and no way to more."""
    chosen = ",".join(["-all", *(f"+{each}" for each in capabilities)])
    return ("setpriv", "--no-new-privs", f"--bounding-set={chosen}", "--inh-caps=-all")
