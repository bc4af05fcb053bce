"""Edit templates that a distribution renders: Go templates of k3s and RKE2, TOML of MicroK8s.

A Go template is not TOML, so it is edited as text and every other byte stays. The result is parsed
as TOML with masked directives, as the engine can't load a template. k3s and RKE2 add handlers by
themselves if they find the binaries where the operator installs them
(``pkg/agent/containerd/runtimes.go``), and a second table of the same name is a syntax error. The
names depend on the release, so each table of ours is conditional on what they found.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from runtime_configs.adapter import ConfigRequest
from runtime_configs.containerd import in_place, keys, rancher, schema, template_conditions
from runtime_configs.containerd.handlers import wanted_tables
from runtime_configs.containerd.merged import Merged, read_merged
from runtime_configs.containerd.rancher import FOUND, SEARCHED
from runtime_configs.containerd.schema import Era
from runtime_configs.containerd.shim import binary_of, flaw_of, refuse_sandbox
from runtime_configs.draft import Draft
from runtime_configs.formats import key_case
from runtime_configs.formats.documents import Change, apply_changes, load
from runtime_configs.formats.template_mask import masked
from runtime_configs.formats.toml_text import quoted
from runtime_configs.formats.values import MISSING, KeyPath, lookup, tables_of
from runtime_configs.model import ConfigError, Format, HostView, Role
from runtime_configs.shims import starts_runc

BASE: Final = b'{{ template "base" . }}\n'
"""The distribution's own config, in the version of its release."""
_NEXT_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_FIRST_KEY = re.compile(r"^([ \t]*)[A-Za-z\"']", re.MULTILINE)
_BINARY = re.compile(
    r"""^[ \t]*["']?(?i:BinaryName)["']?[ \t]*=[ \t]*("[^"\n]*"|'[^'\n]*'|\{\{[^\n]*\}\})""",
    re.MULTILINE,
)


def draft(request: ConfigRequest, view: HostView) -> Draft:
    """Return the edit of a template. Raises ConfigError if it can't have the desired handlers."""
    path = request.template
    if path is None:
        raise ConfigError(
            request.top_level, "it is rendered from an unknown template", "use --config"
        )
    content = view.read(path)
    if content is not None and b"{{" not in content:
        return in_place.draft(replace(request, top_level=path), view)
    return _go_template(request, view, path, content)


def _go_template(request: ConfigRequest, view: HostView, path: str, content: bytes | None) -> Draft:
    if content is None and not rancher.knows(request.version, rancher.BASE_SINCE):
        raise ConfigError(
            path,
            "there is no template, and this release has no base to extend",
            "update the distribution, or write the whole template",
        )
    present = BASE if content is None else content
    text = present.decode("utf-8", "surrogateescape")
    rendered = read_merged(request, view)
    era, version = rendered.era, _version(path, rendered)
    result = Draft(view, keys.ROOT, keys.matching(era))
    tables = wanted_tables(result, rendered, request, version)
    extends = re.search(r'template\s+"base"', text) is not None
    by_distribution = extends or "ExtraRuntimes" in text
    document = _document(path, template_conditions.without_sections(present), era)
    refuse_sandbox(rendered.handlers, request, request.top_level)
    refuse_sandbox(tables_of(document, schema.runtimes(version)), request, path)
    for name, wanted in tables.items():
        place, binary = (*schema.runtimes(version), name), str(binary_of(wanted, era))
        if by_distribution and name in FOUND and rancher.knows(request.version, FOUND[name]):
            found = binary_of(rendered.handlers.get(name, {}), era)
            _check_found(request, name, path, found=found, wanted=binary)
            if posixpath.dirname(binary) == SEARCHED:
                _check_absent(document, place, path)
                result.note(f"{path} leaves {name} to the distribution where that finds it")
        text = _with_handler(text, place, wanted, binary, gives_way=by_distribution)
        _check_set(_encoded(text), (*place, "options", "BinaryName"), binary, path, era)
        if starts_runc(request.desired.runtime_type):
            _check_handler(_encoded(text), place, path, era)
    default = request.desired.default
    if default is not None:
        if extends or "DefaultRuntime" in text:
            _name_default(result, path, request)
        else:
            text = _with_default(text, default, version)
            _check_set(_encoded(text), schema.default_name(version), default, path, era)
    if _encoded(text) != content:
        result.put(path, _encoded(text), Role.TEMPLATE, Format.TEXT)
    return result


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _document(path: str, content: bytes, era: Era) -> Mapping[str, object]:
    """Return a template's content as if all conditions were true. Raises ConfigError."""
    return key_case.read(_spelled(path, content), keys.ROOT, keys.matching(era))


def _spelled(path: str, content: bytes) -> Mapping[str, object]:
    """Return the same with the keys as spelled in the template."""
    try:
        return load(masked(content), Format.TOML, path=path)
    except ConfigError as error:
        raise ConfigError(
            path,
            f"it is not TOML without its directives: {error.message}",
            "write each directive on its own line, or as a whole value",
        ) from error


def _check_handler(content: bytes, place: KeyPath, path: str, era: Era) -> None:
    """Reject a template whose handler would not start our binary."""
    handler = key_case.table_at(_spelled(path, content), place, keys.ROOT, keys.matching(era))
    flaw = flaw_of(handler, era)
    if "runtime_type" in handler and flaw:
        raise ConfigError(path, f"the handler {place[-1]} {flaw}", "correct its table")


def _check_set(content: bytes, key: KeyPath, value: object, path: str, era: Era) -> None:
    """Reject an edited template without the edited value."""
    try:
        found = lookup(_document(path, content, era), key)
    except ConfigError:
        found = MISSING
    if found != value:
        raise ConfigError(
            path,
            f"cannot edit {'.'.join(key)} in this template",
            "write the tables around it as [table] sections",
        )


def _version(path: str, rendered: Merged) -> int:
    """Return the config version of a template: its name shows version 3."""
    if posixpath.basename(path).startswith("config-v3"):
        return 3
    return rendered.version if rendered.files and rendered.version > 1 else 2


def _check_found(
    request: ConfigRequest, name: str, path: str, *, found: str | None, wanted: str
) -> None:
    """Reject a handler of the distribution that runs another binary than ours."""
    if found not in (None, wanted) and posixpath.dirname(wanted) != SEARCHED:
        main = name == request.desired.handlers[0].name
        renamed = " or choose another --runtime-name" if main else ""
        raise ConfigError(
            request.top_level,
            f"the distribution adds the handler {name}, which runs {found}, "
            f"so {path} can't name it again",
            f"install below {posixpath.dirname(SEARCHED)}{renamed}",
        )


def _check_absent(present: Mapping[str, object], place: KeyPath, path: str) -> None:
    """Reject the table of a handler that the distribution will add itself."""
    if lookup(present, place) is not MISSING:
        raise ConfigError(
            path,
            f"it has the handler {place[-1]}, which the distribution adds by itself once it finds "
            f"its binary in {SEARCHED}: the engine does not start with both",
            "remove it from the template",
        )


def _with_handler(
    text: str, place: KeyPath, wanted: Mapping[str, object], binary: str, *, gives_way: bool
) -> str:
    """Return the template with a handler's table at its end, or with the binary of an existing one.

    With ``gives_way`` the new table is conditional on whether the distribution adds the handler.
    An existing table stays in its place, also inside a condition.
    """
    name = place[-1]
    options = _header(name, "options").search(text)
    if options is not None:
        return _with_binary(text, options, quoted(binary))
    known = _header(name).search(text) is not None
    table = {"options": wanted["options"]} if known else dict(wanted)
    return _appended(text, place, table, gives_way=gives_way and not known)


def _header(name: str, *below: str) -> re.Pattern[str]:
    """Return the pattern for the header of a handler's table, or of one below it."""
    escaped = [re.escape(name), *(f"(?i:{re.escape(each)})" for each in below)]
    parts = "".join(rf"""\.\s*["']?{each}["']?\s*""" for each in escaped)
    pattern = rf"^([ \t]*)\[[^\]\n]*(?i:runtimes)\s*{parts}\][^\n]*(\n|\Z)"
    return re.compile(pattern, re.MULTILINE)


def _with_binary(text: str, header: re.Match[str], binary: str) -> str:
    """Return the template with the binary's path set below a header, and no other change."""
    following = _NEXT_TABLE.search(text, header.end())
    end = len(text) if following is None else following.start()
    found = _BINARY.search(text, header.end(), end)
    if found is not None:
        return text[: found.start(1)] + binary + text[found.end(1) :]
    key = _FIRST_KEY.search(text, header.end(), end)
    indent, newline = header[1] if key is None else key[1], "\r\n" if "\r\n" in text else "\n"
    start = text[: header.end()] if header[2] else text + newline
    return f"{start}{indent}BinaryName = {binary}{newline}{text[header.end() :]}"


def _appended(text: str, path: KeyPath, value: object, *, gives_way: bool = False) -> str:
    block = apply_changes(b"", [Change(path=path, value=value)], Format.TOML, path=path[-1])
    table = block.decode()
    if gives_way:
        table = template_conditions.section(path[-1], table)
    return (text if text.endswith("\n") else text + "\n") + "\n" + table


def _with_default(text: str, default: str, version: int) -> str:
    """Return a template that does not extend the distribution's base, with the default set."""
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
    return _appended(text, schema.default_name(version), default)


def _name_default(result: Draft, path: str, request: ConfigRequest) -> None:
    """Set the default in the distribution's own options: its base sets the key itself.

    The distribution does not start with a default that it has not found by itself
    (``SetupContainerdConfig`` in ``pkg/agent/containerd/config_linux.go``).
    """
    binaries = {each.name: each.binary_path for each in request.desired.handlers}
    default = str(request.desired.default)
    if default not in FOUND or posixpath.dirname(binaries.get(default, "")) != SEARCHED:
        raise ConfigError(
            path,
            f"it extends the distribution's base, which takes no default but nvidia in {SEARCHED}, "
            f"and {default} would be {binaries.get(default)}",
            "use --set-as-default=false, or omit --runtime-name and --toolkit-install-dir",
        )
    if not rancher.knows(request.version, rancher.OPTION_SINCE):
        raise ConfigError(
            path,
            f"it extends the distribution's base, which has no {rancher.OPTION} in this release",
            "use --set-as-default=false, or update the distribution",
        )
    rendered = result.view.read(request.top_level)
    name = rancher.distribution([path], rendered=rendered) or "k3s"
    where = rancher.option_file(name, result.view)
    content = rancher.with_option(result.view.read(where), default)
    result.put(where, content, Role.DROP_IN, Format.TEXT)
    result.note(f"{where} names the default, as {path} can't set it beside the base")
