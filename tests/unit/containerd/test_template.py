"""Go templates of k3s and RKE2 that have one of our handlers already."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from runtime_configs.adapter import Placement
from runtime_configs.model import ConfigError
from tests.fakes.k3s import render
from tests.fakes.memory_files import MemoryFiles
from tests.unit.containerd.hosts import ADAPTER, BINARY, V2, request, version

AGENT = "/var/lib/rancher/k3s/agent/etc/containerd"
TEMPLATE = f"{AGENT}/config.toml.tmpl"
RUNTIMES = f'plugins."{V2}".containerd.runtimes'
BASE = '{{ template "base" . }}\n\n'
ASKED = replace(
    request("1.7.20", default=None),
    top_level=f"{AGENT}/config.toml",
    drop_in=None,
    placement=Placement.TEMPLATE,
    template=TEMPLATE,
)


def after(text: str) -> str:
    """Return the edited template, after checking that a second time changes nothing."""
    files = MemoryFiles.holding({TEMPLATE: text.encode()})
    [edit] = ADAPTER.edits(ASKED, files.view()).edits
    assert edit.path == TEMPLATE
    assert edit.after is not None
    files.put(TEMPLATE, edit.after)
    assert ADAPTER.edits(ASKED, files.view()).edits == ()
    undone = ADAPTER.strip_our_changes(edit, edit.after)
    assert undone == text.encode()
    return edit.after.decode()


def handlers(text: str) -> dict[str, Any]:
    """Return the tables of handlers of a template that is TOML but for its lines of directives."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("{{"))
    found: dict[str, Any] = tomllib.loads("\n".join(lines))["plugins"][V2]["containerd"]["runtimes"]
    return found


@pytest.mark.parametrize(
    "options",
    [
        "",
        "  SystemdCgroup = true\n",
        '  # BinaryName = "x"\n  Root = "/r"\n  CriuPath = "[a]"\n',
        '  CriuPath = "[a]"\n  "BinaryName" = \'/usr/bin/else\' # theirs\n',
        "  {{ if .SystemdCgroup }}\n  SystemdCgroup = true\n  {{ end }}\n",
        '  BinaryName = {{ printf "%q" .Binary }}\n',
    ],
)
@pytest.mark.parametrize("name", ["nvidia-cdi", '"nvidia-cdi"', "'nvidia-cdi'"])
def test_a_handler_gets_our_binary_in_the_options_that_it_has(name: str, options: str) -> None:
    before = (
        f'{BASE}[{RUNTIMES}.{name}]\n  runtime_type = "io.containerd.runc.v2"\n'
        f"[ {RUNTIMES} . {name} . options ]\n{options}[metrics]\n"
    )
    text = after(before)
    assert handlers(text)["nvidia-cdi"]["options"]["BinaryName"] == f"{BINARY}.cdi"
    assert handlers(text)["nvidia-legacy"]["options"]["BinaryName"] == f"{BINARY}.legacy"
    kept, others = (
        [line for line in each.splitlines() if "BinaryName" not in line] for each in (before, text)
    )
    assert others[: len(kept)] == kept


def test_a_header_at_the_very_end_gets_a_line_below_it() -> None:
    text = after(f"{BASE}[{RUNTIMES}.nvidia-cdi]\n[{RUNTIMES}.nvidia-cdi.options]")
    assert f'.options]\nBinaryName = "{BINARY}.cdi"\n' in text


def test_a_handler_without_options_gets_them_at_the_end() -> None:
    text = after(f'{BASE}[{RUNTIMES}.nvidia-cdi]\nsnapshotter = "nydus"\n[metrics]\n')
    assert handlers(text)["nvidia-cdi"]["snapshotter"] == "nydus"
    assert handlers(text)["nvidia-cdi"]["options"]["BinaryName"] == f"{BINARY}.cdi"


@pytest.mark.parametrize(
    "table",
    [
        f"[{RUNTIMES}.nvidia-cdi]\noptions = {{ SystemdCgroup = true }}\n",
        f"[{RUNTIMES}.nvidia-cdi]\noptions.SystemdCgroup = true\n",
        f"[{RUNTIMES}]\nnvidia-cdi = {{ options = {{ SystemdCgroup = true }} }}\n",
        f"[{RUNTIMES}]\nnvidia-cdi.options.SystemdCgroup = true\n",
        f"[{RUNTIMES}.nvidia-cdi.options]\nBinaryName = 7\n",
        f"{{{{/*\n[{RUNTIMES}.nvidia-cdi.options]\n*/}}}}\n",
    ],
)
def test_a_form_that_cannot_be_edited_as_text_is_refused(table: str) -> None:
    with pytest.raises(
        ConfigError, match=r"runtimes\.nvidia-cdi\.options\.BinaryName in this template"
    ) as e:
        after(BASE + table)
    assert e.value.path == TEMPLATE
    assert e.value.hint == "write the tables around it as [table] sections"


def test_a_template_that_no_mask_makes_toml_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"without its directives: not valid TOML.*line 3"
    ) as caught:
        after(BASE + "{{ if .A }}[a]\nx = 1\n")
    assert "on its own line" in caught.value.hint


@pytest.mark.parametrize("start", [BASE, "{{ range .ExtraRuntimes }}\n{{ end }}\n"])
def test_a_handler_that_the_distribution_is_going_to_add_is_refused(start: str) -> None:
    with pytest.raises(ConfigError, match="adds by itself once it finds its binary") as caught:
        after(f'{start}[{RUNTIMES}.nvidia]\nruntime_type = "io.containerd.runc.v2"\n')
    assert "remove it from the template" in caught.value.hint


def test_the_cdi_handler_is_left_to_releases_that_add_it() -> None:
    text = f'{BASE}[{RUNTIMES}.nvidia-cdi]\nruntime_type = "io.containerd.runc.v2"\n'
    asked = replace(ASKED, version=version("1.7.22"))
    with pytest.raises(
        ConfigError, match="has the handler nvidia-cdi, which the distribution adds"
    ):
        ADAPTER.edits(asked, MemoryFiles.holding({TEMPLATE: text.encode()}).view())
    [edit] = ADAPTER.edits(asked, MemoryFiles.holding({TEMPLATE: BASE.encode()}).view()).edits
    assert list(handlers((edit.after or b"").decode())) == ["nvidia", "nvidia-cdi", "nvidia-legacy"]


def rendered(text: str, found: set[str]) -> dict[str, Any]:
    """Return the handlers that a release renders from a template, with those that it finds."""
    base = "\n".join(f"[{RUNTIMES}.{name}]\n[{RUNTIMES}.{name}.options]" for name in sorted(found))
    tables: dict[str, Any] = tomllib.loads(render(text, found, base))
    return tables["plugins"][V2]["containerd"]["runtimes"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "found",
    [set(), {"nvidia"}, {"nvidia", "nvidia-cdi"}, {"nvidia", "nvidia-cdi", "nvidia-legacy"}],
)
@pytest.mark.parametrize("release", ["1.7.20", "1.7.23", None])
def test_no_release_renders_a_handler_twice_or_not_at_all(
    found: set[str], release: str | None
) -> None:
    asked = replace(ASKED, version=None if release is None else version(release))
    [edit] = ADAPTER.edits(asked, MemoryFiles.holding({TEMPLATE: BASE.encode()}).view()).edits
    names = {"nvidia", "nvidia-cdi", "nvidia-legacy"}
    assert rendered((edit.after or b"").decode(), found).keys() == names


def test_a_table_that_gives_way_goes_whole_though_somebody_edited_it() -> None:
    [edit] = ADAPTER.edits(ASKED, MemoryFiles.holding({TEMPLATE: BASE.encode()}).view()).edits
    ours = edit.after or b""
    now = ours.replace(b"BinaryName = ", b"  # by hand\n  BinaryName =") + b"[metrics]\n"
    undone = ADAPTER.strip_our_changes(edit, now)
    assert undone == BASE.encode() + b"[metrics]\n"


def test_a_table_of_others_between_ours_stays_when_ours_go() -> None:
    [edit] = ADAPTER.edits(ASKED, MemoryFiles.holding({TEMPLATE: BASE.encode()}).view()).edits
    ours = edit.after or b""
    theirs = f'[{RUNTIMES}.runsc]\nruntime_type = "x"\n'.encode()
    now = ours.replace(b"{{ end }}\n", theirs + b"{{ end }}\n", 1)
    undone = ADAPTER.strip_our_changes(edit, now)
    assert theirs in (undone or b"")
    assert b"nvidia-container-runtime" not in (undone or b"")


CONDITION = '{{ if not (index .ExtraRuntimes "nvidia").BinaryName }}\n'
THEIRS = '[metrics]\n  address = "127.0.0.1:1338"\n'


def edited_and_undone(edit: Callable[[str], str], before: str = BASE) -> str | None:
    """Return a template that somebody edited while ours was there, without us."""
    [made] = ADAPTER.edits(ASKED, MemoryFiles.holding({TEMPLATE: before.encode()}).view()).edits
    ours = (made.after or b"").decode()
    now = edit(ours)
    assert now != ours
    undone = ADAPTER.strip_our_changes(made, now.encode())
    return None if undone is None else undone.decode()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("{{ end }}", "{{ end }} "),
        lambda text: text.replace("{{ end }}", "{{- end -}}"),
        lambda text: text.replace("{{ if", "  {{if"),
        lambda text: text.replace(CONDITION, CONDITION.replace("\n", "\r\n")),
        lambda text: text.replace(
            "BinaryName =", "{{ if .SystemdCgroup }}\nRoot = '/r'\n{{ end }}\nBinaryName ="
        ),
    ],
)
def test_no_end_without_its_condition_is_left(edit: Callable[[str], str]) -> None:
    assert edited_and_undone(edit, BASE + THEIRS) == BASE + THEIRS


@pytest.mark.parametrize(
    "theirs",
    [THEIRS, "# metrics\n" + THEIRS, "{{ if .Metrics }}\n" + THEIRS + "{{ end }}\n"],
    ids=["table", "commented", "conditional"],
)
def test_what_somebody_put_into_our_condition_stays_in_it(theirs: str) -> None:
    undone = edited_and_undone(lambda text: text.replace("{{ end }}\n", theirs + "{{ end }}\n", 1))
    assert undone == BASE + "\n" + CONDITION + theirs + "{{ end }}\n"
    again = edited_and_undone(lambda text: text.replace("# by hand\n", ""), "# by hand\n" + undone)
    assert again == undone


def test_a_condition_that_somebody_took_away_keeps_none_of_our_tables() -> None:
    undone = edited_and_undone(
        lambda text: text.replace(CONDITION, "").replace("{{ end }}\n", "", 1) + THEIRS
    )
    assert undone is not None
    assert "nvidia" not in undone
    assert undone.endswith(THEIRS)


def test_a_table_that_gives_way_and_is_older_than_ours_stays() -> None:
    theirs = f'[{RUNTIMES}.crun]\nruntime_type = "x"\n'
    before = BASE + CONDITION.replace('"nvidia"', '"crun"') + theirs + "{{ end }}\n"
    assert edited_and_undone(lambda text: text + THEIRS, before) == before + THEIRS


def test_the_cdi_handler_of_other_packages_is_refused() -> None:
    rendered = f'version = 2\n[{RUNTIMES}.nvidia-cdi.options]\nBinaryName = "/usr/bin/x.cdi"\n'
    elsewhere = request("1.7.22", default=None, toolkit_dir="/opt/nvidia/toolkit")
    asked = replace(ASKED, version=version("1.7.22"), desired=elsewhere.desired)
    files = MemoryFiles.holding({f"{AGENT}/config.toml": rendered.encode()})
    with pytest.raises(ConfigError, match="the distribution adds the handler nvidia-cdi") as caught:
        ADAPTER.edits(asked, files.view())
    assert caught.value.hint == "install below /usr/local/nvidia"


def test_a_default_that_cannot_be_set_as_text_is_refused() -> None:
    asked = replace(ASKED, desired=replace(ASKED.desired, default="nvidia"))
    text = f'# {{{{ .Program }}}}\n[plugins."{V2}"]\ncontainerd = {{ snapshotter = "x" }}\n'
    with pytest.raises(ConfigError, match=r"cannot edit .* in this template"):
        ADAPTER.edits(asked, MemoryFiles.holding({TEMPLATE: text.encode()}).view())


@pytest.mark.parametrize("spelled", ["binaryName", "BINARYNAME"])
def test_a_binary_in_another_case_is_set_where_it_stands(spelled: str) -> None:
    text = f"""\
version = 2
[plugins."{V2}".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."{V2}".containerd.runtimes.nvidia.options]
{spelled} = "/site/runtime" # theirs
{{{{ if .x }}}}
{{{{ end }}}}
"""
    assert f'{spelled} = "{BINARY}" # theirs' in after(text)
    both = text.replace("{{ if", 'BinaryName = "/other"\n{{ if')
    with pytest.raises(ConfigError, match=TEMPLATE):
        after(both)


def test_a_template_s_handler_of_our_name_that_is_a_sandbox_is_refused() -> None:
    text = f'version = 2\n[{RUNTIMES}.nvidia]\nruntime_type = "io.x.runsc.v1"\n{{{{ .x }}}}\n'
    with pytest.raises(ConfigError, match=f"{TEMPLATE}: the handler nvidia has runtime_type"):
        after(text)
