"""Parsers of names, with the rules of the program that finally reads each."""

from __future__ import annotations

import posixpath

from toolkit.options.parsers import absolute_path, items, matching, unusable

_ENGINES_OWN = ("runc", "crun")

_handler = matching(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
    "handler name",
    "write letters, digits, - . _ (at most 63), such as nvidia",
)

dns_label = matching(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    "Kubernetes namespace",
    "write lower-case letters, digits and -, such as gpu-operator",
)

cdi_kind = matching(
    r"(?=.{,200}$)[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?",
    "CDI kind",
    "write VENDOR/CLASS, each beginning with a letter, at most 200 characters in all, such as"
    " management.nvidia.com/gpu",
)
"""A kind by the rules for vendor and class of the CDI specification's own parser.

It becomes the name of the spec's file, which has at most 255 bytes.
"""

annotation_prefix = matching(
    r"[A-Za-z0-9][A-Za-z0-9._/-]*",
    "prefix of an annotation",
    "write letters, digits, . - _ /, such as nvidia.cdi.k8s.io/",
)

feature = matching(
    r"[A-Za-z0-9_-]+",
    "name of a feature",
    "write letters, digits, - and _, such as disable-imex-channel-creation",
)

runtime_type = matching(
    r"/?[A-Za-z0-9][A-Za-z0-9._/-]*",
    "runtime type",
    "write the name of a containerd shim, such as io.containerd.runc.v2",
)

hook_filename = matching(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.json",
    "name of an OCI hook file",
    "write a file name that ends in .json: CRI-O reads no other",
)


def handler_name(text: str) -> str:
    """Parse the main handler's name."""
    name = _handler(text)
    if name in _ENGINES_OWN:
        # Docker rejects runtimes.runc; any other engine would run every pod through our runtime.
        raise unusable(text, "is the engine's own handler", "write another name")
    return name


def low_level_runtime(text: str) -> str:
    """Parse a low-level runtime: a name to look up, or an absolute path."""
    path = absolute_path(text) if "/" in text else text
    if not path.isprintable() or " " in path:
        raise unusable(text, "is not a runtime", "write a name or an absolute path")
    if posixpath.basename(path).startswith("nvidia-container-runtime"):
        # It would execute itself forever.
        hint = "write a low-level one, such as runc or crun"
        raise unusable(text, "is an NVIDIA runtime", hint)
    return path


def config_sources(text: str) -> tuple[str, ...]:
    """Parse the config sources, in order of preference; there is at least one."""
    return tuple(dict.fromkeys(_config_source(item) for item in items(text) or ("",)))


def _config_source(text: str) -> str:
    kind, equals, path = text.partition("=")
    if equals and kind == "file":
        return f"file={absolute_path(path)}"
    if text not in {"live", "command", "file"}:
        hint = "write live, command, file or file=/PATH"
        raise unusable(text, "is not a config source", hint)
    return text


def device_nodes(text: str) -> bool:
    """Return whether to create the control device nodes; empty means none."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in {"", "none", "control"}:
            raise unusable(word, "is not a kind of device node", "write control or none")
    return all(word == "control" for word in words)
