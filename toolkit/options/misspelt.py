"""Warn of names that resemble ours but are not read: variables, commands, a Boolean's value.

Variables of other programs may have our prefixes: those that Kubernetes injects for services, those
of the engines' own clients and those of systemd are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from toolkit.errors import UsageError
from toolkit.logs import one_line
from toolkit.options.catalog import OPTIONS
from toolkit.options.parsers import BOOLEANS
from toolkit.options.usage import SUMMARIES

_ENTRY_POINT = ("TOOLKIT_VALIDATIONS_DIR",)
"""Variables that ``entrypoint.sh`` reads."""
KNOWN_VARIABLES = tuple(
    sorted((*_ENTRY_POINT, *(name for option in OPTIONS for name in option.all_variables)))
)
"""Every variable that is read."""
PREFIXES = (
    "TOOLKIT_",
    "CONTAINERD_",
    "CRIO_",
    "DOCKER_",
    "RUNTIME_",
    "NVIDIA_CONTAINER_RUNTIME_",
)
_OTHERS = frozenset(
    {
        # Docker's command line (docs.docker.com, environment variables of the CLI).
        "DOCKER_API_VERSION",
        "DOCKER_AUTH_CONFIG",
        "DOCKER_BUILDKIT",
        "DOCKER_CERT_PATH",
        "DOCKER_CLI_EXPERIMENTAL",
        "DOCKER_CONTENT_TRUST",
        "DOCKER_CONTENT_TRUST_SERVER",
        "DOCKER_CONTEXT",
        "DOCKER_CUSTOM_HEADERS",
        "DOCKER_DEFAULT_PLATFORM",
        "DOCKER_HIDE_LEGACY_COMMANDS",
        "DOCKER_HOST",
        "DOCKER_TLS",
        "DOCKER_TLS_VERIFY",
        # ctr and nerdctl.
        "CONTAINERD_ADDRESS",
        "CONTAINERD_NAMESPACE",
        "CONTAINERD_SNAPSHOTTER",
        # systemd, for a unit with RuntimeDirectory=.
        "RUNTIME_DIRECTORY",
    }
)
_SERVICE = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""Variables that the kubelet sets for each service of a namespace (enableServiceLinks)."""
_EDITS = 2
_SHORTEST = 5
"""Minimum length; ``PORT`` is one edit from ``ROOT`` but unrelated."""
_PARTS = {
    known: (known[:third], known[third : 2 * third], known[2 * third :])
    for known, third in ((each, len(each) // (_EDITS + 1)) for each in KNOWN_VARIABLES)
    if len(known) >= _SHORTEST
}
"""Each variable in three parts, of which two edits leave one intact: a cheap filter, because every
start compares each variable of the process with each known one."""
_DASHES = ("\N{EN DASH}", "\N{EM DASH}", "\N{MINUS SIGN}")
"""Characters that word processors substitute for hyphens."""
_MEANT = {
    "help": "did you mean --help?",
    "version": "did you mean --version?",
    **dict.fromkeys(("install", "start", "run", "setup"), "a call without a command sets up"),
    **dict.fromkeys(("uninstall", "remove", "undo", "clean"), "did you mean revert?"),
    **dict.fromkeys(("check", "diagnose"), "did you mean doctor?"),
    **dict.fromkeys(("diff", "dry-run", "preview"), "did you mean plan?"),
}
"""Commands of other installers, with hints."""


def warnings(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that is probably a misspelling of ours."""
    for name in sorted(environ):
        if name in KNOWN_VARIABLES or name in _OTHERS or _SERVICE.fullmatch(name):
            continue
        likely = likely_variable(name)
        if likely is not None:
            yield f"{name}: this variable is not read; did you mean {likely}?"
        elif name.upper().startswith(PREFIXES):
            yield f"{name}: this variable is not read; docs/configuration.md lists those that are"


def likely_variable(name: str) -> str | None:
    """Return the known variable within two edits of a name, else a similar one.

    The latter only for a name with one of our prefixes: ``CONTAINERD_SOCKET_PATH``.
    """
    plain = name.upper().replace("-", "_")
    if plain in KNOWN_VARIABLES:
        return plain
    near = [
        (edits(plain, known), known)
        for known, parts in _PARTS.items()
        if abs(len(plain) - len(known)) <= _EDITS and any(part in plain for part in parts)
    ]
    distance, nearest = min(near, default=(_EDITS + 1, ""))
    if distance <= _EDITS:
        return nearest
    if not plain.startswith(PREFIXES):
        return None
    from difflib import get_close_matches  # only after a typing error

    return next(iter(get_close_matches(plain, KNOWN_VARIABLES, n=1, cutoff=0.75)), None)


def edits(one: str, other: str) -> int:
    """Return the number of letters to insert, delete or replace (Levenshtein distance).

    For names more than ``_EDITS`` apart, any number greater than that.
    """
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, against in enumerate(other, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != against)))
        if min(row) > _EDITS:
            break
    return max(row[-1], min(row))


def unknown_word(word: str, arguments: Sequence[str]) -> UsageError:
    """Return the error for a word that is neither a command nor an install directory."""
    before = arguments[list(arguments).index(word) - 1] if word in arguments[1:] else ""
    hint = _hint_for_misplaced(word, before) or _hint_for_command(word)
    return UsageError(f"unknown command {word!r}", hint)


def _hint_for_misplaced(word: str, before: str) -> str:
    """Return the hint for a misplaced value, variable or dash; empty for any other word."""
    name, equals, _ = word.partition("=")
    if word.lower() in BOOLEANS and before.startswith("-"):
        return f"join a Boolean flag and its value: {before}={word}"
    if equals and name in KNOWN_VARIABLES:
        return f"{name} is a variable: set it in the environment (docker run -e {name}=VALUE)"
    if word.startswith(_DASHES):
        return "a flag begins with two plain hyphens, such as --runtime"
    return ""


def _hint_for_command(word: str) -> str:
    if word.lower() in _MEANT:
        return _MEANT[word.lower()]
    distance, nearest = min((edits(word.lower(), each), each) for each in SUMMARIES)
    if distance <= _EDITS:
        return f"did you mean {nearest}?"
    if "/" in word:
        return f"an install directory is an absolute path: /{one_line(word.lstrip('./'))}"
    return f"commands: {', '.join(SUMMARIES)}"
