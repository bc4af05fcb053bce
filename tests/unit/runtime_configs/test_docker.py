from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from runtime_configs.adapter import OVERRIDE_IGNORED, ConfigRequest
from runtime_configs.docker.adapter import DockerAdapter
from runtime_configs.model import (
    ConfigError,
    DesiredHandlers,
    FileEdit,
    Format,
    Role,
    RuntimeHandler,
    Version,
)
from tests.fakes.host_tree import HostTree

PATH = "/etc/docker/daemon.json"
BINARY = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
DESIRED = DesiredHandlers(
    handlers=(RuntimeHandler(name="nvidia", binary_path=BINARY),), default="nvidia"
)
REQUEST = ConfigRequest(desired=DESIRED, top_level=PATH, drop_in=None)


def written(content: bytes | None, request: ConfigRequest = REQUEST) -> bytes | None:
    files = {} if content is None else {PATH: content}
    edits = DockerAdapter().edits(request, HostTree(files)).edits
    return edits[0].after if edits else content


@pytest.mark.parametrize("content", [b"", b" \n", None, b"{}", b'{"runtimes": null}'])
def test_an_empty_file_is_like_none(content: bytes | None) -> None:
    result = written(content)
    assert result is not None
    assert json.loads(result) == {
        "runtimes": {"nvidia": {"path": BINARY}},
        "default-runtime": "nvidia",
    }


def test_arguments_stay_and_a_shim_of_runc_is_replaced_whole() -> None:
    content = b'{"runtimes": {"nvidia": {"path": "old", "args": ["x"]}}}'
    result = json.loads(written(content) or b"")
    assert result["runtimes"]["nvidia"] == {"path": BINARY, "args": ["x"]}
    shim = b'{"runtimes": {"nvidia": {"runtimeType": "io.containerd.runc.v2", "options": {}}}}'
    assert json.loads(written(shim) or b"")["runtimes"]["nvidia"] == {"path": BINARY}


@pytest.mark.parametrize("key", ["runtimeType", "runtimetype", "RuntimeType"])
@pytest.mark.parametrize("kind", ["io.containerd.runsc.v1", "/opt/kata/containerd-shim-kata-v2"])
def test_a_runtime_of_our_name_that_is_a_sandbox_is_refused(key: str, kind: str) -> None:
    content = json.dumps({"runtimes": {"nvidia": {key: kind, "options": {}}}}).encode()
    with pytest.raises(ConfigError, match=f'"nvidia" has runtimeType {kind}') as caught:
        written(content)
    assert "--runtime-name" in caught.value.hint


@pytest.mark.parametrize(
    ("entry", "after"),
    [
        ({"Path": "old", "runtimeargs": ["x"]}, {"Path": BINARY, "runtimeargs": ["x"]}),
        ({"path": "a", "PATH": "b"}, {"PATH": BINARY}),
        ({"PATH": "a", "path": "b"}, {"path": BINARY}),
    ],
)
def test_the_path_is_written_as_the_file_spells_it_and_in_one_spelling(
    entry: dict[str, object], after: dict[str, object]
) -> None:
    content = json.dumps({"runtimes": {"nvidia": entry}}).encode()
    result = written(content) or b""
    assert json.loads(result)["runtimes"]["nvidia"] == after
    assert DockerAdapter().effective(result).handlers["nvidia"].binary_path == BINARY


def test_a_path_that_somebody_spells_in_another_way_goes_at_a_revert() -> None:
    before = b'{"runtimes": {"nvidia": {"path": "/old"}, "kata": {"path": "/k"}}}'
    ours = written(before) or b""
    now = ours.replace(b'"path": "%s"' % BINARY.encode(), b'"Path": "%s"' % BINARY.encode())
    now = now.replace(b'"/k"', b'"/else"')
    edit = FileEdit(path=PATH, before=before, after=ours, format=Format.JSON, role=Role.TOP_LEVEL)
    left = DockerAdapter().strip_our_changes(edit, now)
    assert json.loads(left or b"") == {
        "runtimes": {"nvidia": {"Path": "/old"}, "kata": {"path": "/else"}}
    }


@pytest.mark.parametrize(
    "content", [b'{"runtimes": []}', b'{"features": "x"}', b"[]", b'{"a": 1,}', b"\xff"]
)
def test_a_file_that_dockerd_would_refuse_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=PATH):
        written(content)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("dockerd", "--default-runtime", "crun"), "--default-runtime=crun"),
        (("dockerd", "--default-runtime=crun"), "--default-runtime=crun"),
        (("dockerd", "--add-runtime=a=/b", "-H", "fd://"), "--add-runtime=a=/b"),
        (("dockerd", "--add-runtime", "a=/b"), "--add-runtime=a=/b"),
    ],
)
def test_a_flag_that_fills_the_same_key_is_named(arguments: tuple[str, ...], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag) as caught:
        written(b"{}", replace(REQUEST, engine_arguments=arguments))
    assert "remove the flag" in caught.value.hint


def test_the_default_flag_does_not_matter_where_no_default_is_wanted() -> None:
    request = replace(
        REQUEST,
        desired=replace(DESIRED, default=None),
        engine_arguments=("dockerd", "--default-runtime=crun"),
    )
    assert json.loads(written(b"{}", request) or b"") == {"runtimes": {"nvidia": {"path": BINARY}}}


def test_the_feature_flag_matters_only_with_cdi() -> None:
    request = replace(REQUEST, engine_arguments=("dockerd", "--feature=cdi"))
    assert written(b"{}", request)
    with pytest.raises(ConfigError, match="--feature=cdi"):
        written(b"{}", replace(request, desired=replace(DESIRED, enable_cdi=True)))


def test_the_name_of_the_stock_runtime_is_refused() -> None:
    handlers = (RuntimeHandler(name="runc", binary_path=BINARY),)
    with pytest.raises(ConfigError, match="runc"):
        written(b"{}", replace(REQUEST, desired=DesiredHandlers(handlers=handlers)))


def test_an_override_is_said_to_have_no_effect_changes_or_not() -> None:
    request = replace(REQUEST, desired=replace(DESIRED, override={"snapshotter": "x"}))
    first = DockerAdapter().edits(request, HostTree({}))
    again = DockerAdapter().edits(request, HostTree({PATH: first.edits[0].after or b""}))
    assert again.edits == ()
    assert first.notes == again.notes == (OVERRIDE_IGNORED,)
    assert DockerAdapter().edits(REQUEST, HostTree({})).notes == ()


@pytest.mark.parametrize(
    ("target", "previous", "interim"),
    [
        (None, "runc", {"runtimes": {}, "default-runtime": "runc"}),
        (b"", None, {"runtimes": {}, "default-runtime": "runc"}),
        (b'{"debug": true}', "io.containerd.runc.v2",
         {"debug": True, "runtimes": {}, "default-runtime": "io.containerd.runc.v2"}),
        (b'{"runtimes": {"crun": {"path": "/c"}}}', "crun",
         {"runtimes": {"crun": {"path": "/c"}}, "default-runtime": "crun"}),
        (b"{}", "nvidia", {"runtimes": {}, "default-runtime": "runc"}),
    ],
)  # fmt: skip
def test_a_revert_spells_out_what_a_reload_would_not_take_away(
    target: bytes | None, previous: str | None, interim: object
) -> None:
    content = DockerAdapter().interim_content(written(target), target, previous)
    assert content is not None
    assert json.loads(content) == interim


def test_a_revert_spells_out_only_keys_that_go() -> None:
    adapter = DockerAdapter()
    target = b'{"runtimes": {"crun": {"path": "/c"}}, "default-runtime": "crun"}'
    assert adapter.interim_content(written(target), target, "crun") is None
    request = replace(REQUEST, desired=replace(DESIRED, default=None, enable_cdi=True))
    content = adapter.interim_content(written(b"{}", request), b"{}", "runc")
    assert content is not None
    assert json.loads(content) == {"runtimes": {}, "features": {}}


def test_info_tells_handlers_and_the_default() -> None:
    info = b'{"Runtimes": {"nvidia": {"path": "/n"}, "s": {"runtimeType": "t"}}, "DefaultRuntime": "nvidia", "NFd": 3}'  # noqa: E501 - one answer
    effective = DockerAdapter().effective(info)
    assert effective.default == "nvidia"
    assert effective.handlers["nvidia"].binary_path == "/n"
    assert effective.handlers["s"].runtime_type == "t"


def test_dockerd_is_asked_from_23_on_and_with_its_own_flags() -> None:
    adapter = DockerAdapter()
    tree = HostTree({})
    arguments = ("/usr/bin/dockerd", "-H", "fd://", "--config-file", PATH)
    request = replace(REQUEST, engine_arguments=arguments, version=Version(major=28, minor=5))
    check = adapter.dry_run(request, tree, "/s")
    assert check is not None
    assert check.arguments == ("-H", "fd://", "--validate", "--config-file", "/s/daemon.json")
    assert check.files == (("/s/daemon.json", b"{}\n"),)
    old = replace(request, version=Version(major=20, minor=10, patch=24))
    assert adapter.dry_run(old, tree, "/s") is None
