"""Which values are secret: by the name of the key, and by the form of the value.

One list for logs, diffs, comparisons and messages.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

REDACTED: Final = "[redacted]"
"""The mark in place of a secret."""
WORDS: Final = (
    "pass", "pwd", "auth", "token", "secret", "credential", "creds", "header", "username", "bearer",
    "cookie", "signature", "jwt", "api_key", "access_key", "private_key", "client_key",
    "account_key", "shared_key", "encryption_key", "signing_key", "ssh_key", "master_key",
)  # fmt: skip
"""Parts of names of secrets, in any case and joined in any way (``apiKey``)."""
_WHOLE: Final = (
    r"(?:(?<![a-z])(?:key|pin|otp|psk|pw|hmac)|(?-i:(?<=[a-z0-9])Key))(?=[\"'`]?[ \t]*+(?:[=:]|\Z))"
)
"""Words that are a secret's name or end one; elsewhere, as in prose, they mean nothing."""
_NOT_A_SECRET: Final = {"pass": "(?<!by)pass(?!thro?ugh|ive)"}
WORD: Final = re.compile(
    "|".join(
        (*(_NOT_A_SECRET.get(each) or each.replace("_", "[-_. ]?") for each in WORDS), _WHOLE)
    ),
    re.IGNORECASE,
)

_ADDRESS: Final = re.compile(r"(?<!\S)\S*?://\S*+")
_PEM: Final = re.compile(
    r"-----BEGIN [^-\n]*-----.*?(?:-----END [^-\n]*-----|(?=\n?\Z))", re.DOTALL
)
_SHAPE: Final = re.compile(
    r"(?P<kept>\b(?:bearer|basic)(?:[ \t]++|%20)|[?&;](?:sig|sign|signature|key|code|\w*token)=|"
    r"""(?<![\w-])(?:-u|--user)(?:[ \t]++|=|["'],[ \t]*+["'])(?!\d++:\d)[^\s:"'`,]++:|"""
    r"\bhooks\.slack\.com/\w++/)"
    r"""[^\s"'`&;,<>\\]++"""
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{12,}+"
    r"|\b(?:gh[opsur]_|github_pat_|glpat-|xox[a-z]-|AIza|hf_|nvapi-|sk-|npm_|pypi-)[\w-]{8,}+"
    r"|\beyJ[\w-]{5,}+(?:\.[\w-]++){0,4}"
    r"|\bLS0tLS1CRUdJTi[\w+/=]*+",
    re.IGNORECASE,
)
"""``Bearer …``, a signature in a query, a login as an argument, a web hook, the forms of well-known
tokens, a PEM block in Base64.
"""


@lru_cache(maxsize=1024)  # a few names of tables recur above thousands of keys
def names_secret(name: str) -> bool:
    """Return whether the value of a key or field with this name is secret."""
    return WORD.search(name) is not None


def without_secret_shapes(text: str) -> str:
    """Return a text with REDACTED in place of all that has the form of a secret, under any key.

    These are logins in an address (``http://user:password@proxy``), PEM blocks, ``Bearer …``,
    signatures in a query, and tokens of well-known services. The number of lines stays.
    """
    if "-----BEGIN " in text:
        text = _PEM.sub(lambda found: REDACTED + f"\n{REDACTED}" * found.group().count("\n"), text)
    if "://" in text:
        text = _ADDRESS.sub(lambda run: _without_login(run.group()), text)
    return _SHAPE.sub(lambda found: (found["kept"] or "") + REDACTED, text)


def _without_login(run: str) -> str:
    """Mask from the first address in a run of characters to its last ``@``.

    A password may contain ``/`` and ``@``; it does no harm to mask more than that.
    """
    start, end = run.find("://"), run.rfind("@")
    return f"{run[: start + 3]}{REDACTED}{run[end:]}" if 0 <= start < end else run
