"""Files that a distribution renders: k3s's and RKE2's Go templates, MicroK8s' template of TOML.

A Go template is no TOML, so it is edited as text: what is there stays to the byte. k3s and RKE2
name a handler ``nvidia`` themselves once they find its binary where the operator installs it
(``pkg/agent/containerd/runtimes.go``); a second table of that name would be an error of syntax.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Final

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import in_place, rancher, schema
from runtime_configs.containerd.changes import Draft
from runtime_configs.containerd.handlers import binary_of, wanted_tables
from runtime_configs.containerd.imports import read_files
from runtime_configs.containerd.merged import Merged, merge
from runtime_configs.documents import Change, apply_changes
from runtime_configs.model import ConfigError, Format, HostView, Role

BASE: Final = b'{{ template "base" . }}\n'
"""The distribution's own config, whichever its version renders."""
SEARCHED: Final = "/usr/local/nvidia/toolkit"
"""Where k3s and RKE2 look first; /usr/bin comes second."""
FOUND_NAME: Final = "nvidia"


def draft(request: ConfigRequest, view: HostView, path: str) -> Draft:
    """Return the edit of a template. Raises ConfigError where it can't carry what is wanted."""
    content = view.read(path)
    if content is not None and b"{{" not in content:
        return in_place.draft(request, view, path)
    return _go_template(request, view, path, content)


def _go_template(request: ConfigRequest, view: HostView, path: str, content: bytes | None) -> Draft:
    result = Draft(view)
    if content is None and not rancher.knows(request.version, rancher.BASE_SINCE):
        raise ConfigError(
            path,
            "there is no template, and this release has no base that one could extend",
            "bring the distribution up to date, or write the template in full",
        )
    text = (BASE if content is None else content).decode("utf-8", "surrogateescape")
    files = read_files(request, view, request.top_level)
    rendered = merge(files, schema.era_of(request))
    version = _version(path, rendered, known=bool(files))
    base, tables = wanted_tables(rendered, request, schema.era_of(request), version)
    result.note(f"the handlers take their options from {base.name}")
    extends = re.search(r'template\s+"base"', text) is not None
    by_distribution = extends or "ExtraRuntimes" in text
    for name, wanted in tables.items():
        if by_distribution and name == FOUND_NAME:
            _check_found(request, rendered, path, str(binary_of(wanted)))
            if posixpath.dirname(str(binary_of(wanted))) == SEARCHED:
                result.note(f"{path} leaves {name} out: the distribution adds it by itself")
                continue
        text = _with_handler(text, name, wanted, version)
    if request.desired.default is not None:
        if extends or "DefaultRuntime" in text:
            _name_default(result, path, request)
        else:
            text = _with_default(text, request.desired.default, version)
    if text.encode("utf-8", "surrogateescape") != content:
        changed = text.encode("utf-8", "surrogateescape")
        result.put(path, changed, Role.TEMPLATE, Format.TEXT)
    return result


def _version(path: str, rendered: Merged, *, known: bool) -> int:
    """Return the config version that the template renders: its name tells version 3."""
    if posixpath.basename(path).startswith("config-v3"):
        return 3
    return rendered.version if known and rendered.version > 1 else 2


def _check_found(request: ConfigRequest, rendered: Merged, path: str, wanted: str) -> None:
    """Refuse where the distribution's own ``nvidia`` would be another binary than ours."""
    found = binary_of(rendered.handlers.get(FOUND_NAME, {}))
    if found not in (None, wanted) and posixpath.dirname(wanted) != SEARCHED:
        raise ConfigError(
            request.top_level,
            f"the handler {FOUND_NAME} is made by the distribution and runs {found}, "
            f"so {path} can't name it again",
            f"install below {posixpath.dirname(SEARCHED)} or choose another --runtime-name",
        )


def _with_handler(text: str, name: str, wanted: Mapping[str, object], version: int) -> str:
    """Return the template with a handler's table at its end, or its binary set where it stands."""
    quoted = rf"""runtimes\s*\.\s*["']?{re.escape(name)}["']?"""
    options = re.compile(
        rf"(^[ \t]*\[[^\]\n]*{quoted}\s*\.\s*options\s*\][^\[]*?^[ \t]*BinaryName[ \t]*=[ \t]*)"
        r"""("[^"\n]*"|'[^'\n]*')""",
        re.MULTILINE,
    )
    if options.search(text):
        return options.sub(lambda found: f'{found[1]}"{binary_of(wanted)}"', text, count=1)
    if re.search(rf"^[ \t]*\[[^\]\n]*{quoted}\s*\]", text, re.MULTILINE):
        table = {"options": wanted["options"]}
    else:
        table = dict(wanted)
    change = Change(path=(*schema.runtimes(version), name), value=table)
    block = apply_changes(b"", [change], Format.TOML, path=name).decode()
    return _appended(text, block)


def _appended(text: str, block: str) -> str:
    return (text if text.endswith("\n") else text + "\n") + "\n" + block


def _with_default(text: str, default: str, version: int) -> str:
    """Return a template without the distribution's base with the default's name set."""
    named = re.compile(r"^([ \t]*default_runtime_name[ \t]*=[ \t]*).*$", re.MULTILINE)
    if named.search(text):
        return named.sub(lambda found: f'{found[1]}"{default}"', text, count=1)
    plugin = re.escape(schema.plugin(version))
    header = re.compile(
        rf"""^([ \t]*)\[plugins\.["']?{plugin}["']?\.containerd\][^\n]*$""", re.MULTILINE
    )
    if header.search(text):
        return header.sub(
            lambda found: f'{found[0]}\n{found[1]}  default_runtime_name = "{default}"',
            text,
            count=1,
        )
    change = Change(path=schema.default_name(version), value=default)
    block = apply_changes(b"", [change], Format.TOML, path=default).decode()
    return _appended(text, block)


def _name_default(result: Draft, path: str, request: ConfigRequest) -> None:
    """Name the default where the distribution takes it from: its base sets the key itself."""
    if not rancher.knows(request.version, rancher.OPTION_SINCE):
        raise ConfigError(
            path,
            f"it extends the distribution's base, which has no {rancher.OPTION} in this release",
            "use --set-as-default=false, or bring the distribution up to date",
        )
    name = rancher.program(path, result.view.read(request.top_level))
    where = rancher.option_file(name, result.view)
    content = rancher.with_option(result.view.read(where), str(request.desired.default))
    result.put(where, content, Role.DROP_IN, Format.TEXT)
    result.note(f"{where} names the default, as {path} can't set it beside the base")
