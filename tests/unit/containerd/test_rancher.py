"""k3s and RKE2: where the file with their options belongs, and which release knows them."""

from __future__ import annotations

import pytest
from msgspec import structs

from runtime_configs.adapter import ConfigRequest, Placement
from runtime_configs.containerd import rancher
from runtime_configs.model import ConfigError, EditSet
from tests.fakes.host_tree import HostTree
from tests.unit.containerd.hosts import ADAPTER, TOOLKIT, request, version

UNIT = "/etc/systemd/system/k3s.service"
OURS = "/etc/rancher/k3s/config.yaml.d/99-nvidia.yaml"
AGENT = "/var/lib/rancher/k3s/agent/etc/containerd"


def host(files: dict[str, str]) -> HostTree:
    return HostTree({path: text.encode() for path, text in files.items()})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, OURS),
        ({UNIT: "[Service]\nExecStart=/usr/local/bin/k3s server\n"}, OURS),
        ({UNIT: "ExecStart=/bin/k3s \\\n  server \\\n\t'--config' \\\n\t'/srv/k.yaml' \\\n"}, None),
        ({UNIT: "ExecStart=/bin/k3s server --config=/srv/k.yaml\n"}, None),
        ({UNIT: "ExecStart=/bin/k3s agent -c /srv/k.yaml\n"}, None),
        ({UNIT: 'Environment="A=b" K3S_CONFIG_FILE=/srv/k.yaml\nExecStart=/k3s server\n'}, None),
        (
            {
                UNIT: "EnvironmentFile=-/etc/default/%N\nExecStart=/k3s server -c /other.yaml\n",
                "/etc/default/k3s": "# x\nK3S_CONFIG_FILE='/srv/k.yaml'\n",
            },
            None,
        ),
        (
            {
                UNIT: "ExecStart=/k3s server\n",
                f"{UNIT}.d/10-x.conf": "ExecStart=\nExecStart=/k3s server -c /srv/k.yaml\n",
            },
            None,
        ),
        (
            {
                "/etc/systemd/system/multi-user.target.wants/k3s-agent.service": "",
                UNIT: "ExecStart=/k3s server -c /srv/left-over.yaml\n",
                "/etc/systemd/system/k3s-agent.service": "ExecStart=/k3s agent -c /srv/k.yaml\n",
            },
            None,
        ),
    ],
)
def test_the_option_goes_beside_the_config_that_the_service_names(
    files: dict[str, str], expected: str | None
) -> None:
    expected = expected or "/srv/k.yaml.d/99-nvidia.yaml"
    assert rancher.option_file("k3s", host(files)) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({UNIT: "ExecStart=/k3s server --config https://a/b.yaml\n"}, "from there"),
        ({UNIT: "ExecStart=/k3s server --default-runtime=crun\n"}, "k3s.service"),
        ({"/etc/rancher/k3s/config.yaml.d/zz.yaml": "default-runtime: crun\n"}, "zz.yaml"),
    ],
)
def test_what_would_overrule_the_option_is_named(files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        rancher.option_file("k3s", host(files))
    assert "--set-as-default=false" in caught.value.hint


def test_a_directory_beside_the_options_is_none_of_them() -> None:
    inside = "/etc/rancher/k3s/config.yaml.d/zz.yaml/a.yaml"
    assert rancher.option_file("k3s", host({inside: "default-runtime: crun\n"})) == OURS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "default-runtime: nvidia\n"),
        ("node-name: a", "node-name: a\ndefault-runtime: nvidia\n"),
        ("default-runtime: crun # x\nnode-name: a\n", "default-runtime: nvidia\nnode-name: a\n"),
        ("a: b\r\ndefault-runtime: crun\r\n", "a: b\r\ndefault-runtime: nvidia\r\n"),
    ],
)
def test_other_options_of_the_file_stay(content: str | None, expected: str) -> None:
    given = None if content is None else content.encode()
    assert rancher.with_option(given, "nvidia") == expected.encode()


def edits(engine: str | None, template: str | None, files: dict[str, str] | None = None) -> EditSet:
    asked: ConfigRequest = structs.replace(
        request(engine, default="nvidia"),
        top_level=f"{AGENT}/config.toml", drop_in=None, placement=Placement.TEMPLATE,
        template=f"{AGENT}/config.toml.tmpl",
    )  # fmt: skip
    given = {} if template is None else {f"{AGENT}/config.toml.tmpl": template}
    return ADAPTER.edits(asked, host(given | (files or {})))


@pytest.mark.parametrize(
    ("engine", "template", "message"),
    [
        ("1.7.1", None, "no base"),
        ("1.7.7", None, "default-runtime"),
        ("1.7.7", '{{ template "base" . }}\n', "default-runtime"),
    ],
)
def test_a_release_that_lacks_what_is_needed_is_refused(
    engine: str, template: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        edits(engine, template)
    assert "update the distribution" in caught.value.hint


@pytest.mark.parametrize("engine", ["1.7.11", "2.0.5", None])
def test_a_newer_release_gets_the_option(engine: str | None) -> None:
    assert OURS in {each.path for each in edits(engine, None).edits}


@pytest.mark.parametrize(
    ("names", "directory"),
    [(("gpu", "nvidia-cdi", "nvidia-legacy"), TOOLKIT), (None, "/opt/nvidia/toolkit")],
)
def test_a_default_that_the_distribution_does_not_find_by_itself_is_refused(
    names: tuple[str, ...] | None, directory: str
) -> None:
    desired = request("1.7.23", toolkit_dir=directory).desired
    handlers = desired.handlers
    if names is not None:
        handlers = tuple(
            structs.replace(each, name=name) for each, name in zip(handlers, names, strict=True)
        )
    asked = structs.replace(
        request("1.7.23"),
        desired=structs.replace(desired, handlers=handlers, default=handlers[0].name),
        top_level=f"{AGENT}/config.toml", drop_in=None, placement=Placement.TEMPLATE,
        template=f"{AGENT}/config.toml.tmpl",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="takes no default but nvidia in") as caught:
        ADAPTER.edits(asked, host({}))
    assert "--set-as-default=false" in caught.value.hint
    without = structs.replace(asked, desired=structs.replace(asked.desired, default=None))
    assert ADAPTER.edits(without, host({})).edits


def test_a_template_of_an_old_release_that_extends_no_base_names_the_default_itself() -> None:
    template = "version = 2\n{{ range $k, $v := .ExtraRuntimes }}\n{{ end }}\n"
    found = {each.path: each.after for each in edits("1.7.7", template).edits}
    assert list(found) == [f"{AGENT}/config.toml.tmpl"]
    assert b'default_runtime_name = "nvidia"' in (found[f"{AGENT}/config.toml.tmpl"] or b"")


def test_the_rendered_file_says_whose_it_is_where_the_path_does_not() -> None:
    paths = ["/data/agent/config.toml.tmpl"]
    paths = ["/data/agent/config.toml.tmpl"]
    assert rancher.distribution(paths, rendered=b"\n# File generated by rke2. No\n") == "rke2"
    assert rancher.distribution(paths, rendered=b"# File generated by k3s\n") == "k3s"
    assert rancher.distribution(["/var/lib/rancher/rke2/agent/x"]) == "rke2"


def test_a_version_that_is_not_known_counts_as_new() -> None:
    assert rancher.knows(None, rancher.OPTION_SINCE)
    assert not rancher.knows(version("1.7.10"), rancher.OPTION_SINCE)
