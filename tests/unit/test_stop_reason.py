"""Why a process is stopped: what is seen, and what follows."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.api_server import (
    LABEL,
    NODE_PATH,
    FakeApiServer,
    daemon_set,
    make_certificates,
    node,
)
from tests.fakes.node import FakeCommands
from toolkit.daemon.node_selection import UnknownRuleError, needs_node, selects
from toolkit.daemon.stop_reason import Cluster, ask_cluster, decide
from toolkit.host.commands import CommandResult
from toolkit.host.shutdown import HostState, host_state
from toolkit.settings import OnExitUnknown

REVERT, KEEP = OnExitUnknown.REVERT, OnExitUnknown.KEEP
RUNS_ON = b"Id=shutdown.target\nActiveState=inactive\nJob=\n"
UNIT = b"\nId=docker.service\nActiveState=%s\nJob=\n"
LONG = 30.0
"""Seconds that an answer may take on a busy machine."""


@pytest.mark.parametrize(
    ("going_down", "cluster", "otherwise", "reverts"),
    [
        (False, Cluster.NONE, KEEP, True),
        (None, Cluster.NONE, KEEP, True),
        (False, Cluster.GOES_ON, REVERT, False),
        (None, Cluster.GOES_ON, REVERT, False),
        (False, Cluster.GONE, KEEP, True),
        (False, Cluster.DESELECTED, KEEP, True),
        (False, Cluster.UNKNOWN, REVERT, True),
        (False, Cluster.UNKNOWN, KEEP, False),
        *((True, each, REVERT, False) for each in Cluster),
    ],
)
def test_the_host_comes_first_then_the_cluster_then_the_flag(
    *, going_down: bool | None, cluster: Cluster, otherwise: OnExitUnknown, reverts: bool
) -> None:
    host = HostState(going_down=going_down, how="seen")
    decision = decide(host, cluster, "heard", otherwise)
    assert decision.reverts is reverts
    assert decision.found is (going_down is True or cluster is not Cluster.UNKNOWN)
    assert "seen" in decision.how


def said(output: bytes, status: int = 0, errors: str = "") -> CommandResult:
    return CommandResult(status=status, output=output, errors=errors)


@pytest.mark.parametrize(
    ("shown", "logind", "going_down", "how"),
    [
        (RUNS_ON, b"b false\n", False, "not stopping"),
        (RUNS_ON + UNIT % b"active", b"b false\n", False, "not stopping"),
        (RUNS_ON + UNIT % b"deactivating", b"b false\n", True, r"stopping docker\.service"),
        (RUNS_ON.replace(b"Job=", b"Job=314"), b"b false\n", True, "shutdown.target has begun"),
        (RUNS_ON.replace(b"inactive", b"active"), b"b false\n", True, "shutdown.target has begun"),
        (RUNS_ON, b"b true\n", True, "logind prepares"),
        (b"", b"b true\n", True, "logind prepares"),
        (b"", b"", None, "can't be asked: Failed to connect"),
        (b"Running in chroot, ignoring command 'show'\n", b"", None, "can't be asked"),
    ],
)
def test_systemd_and_logind_say_whether_the_host_goes_down(
    *, shown: bytes, logind: bytes, going_down: bool | None, how: str, tmp_path: Path
) -> None:
    answers = {
        "docker.service": said(shown, 0 if shown else 1, "" if shown else "Failed to connect"),
        "PreparingForShutdown": said(logind),
    }
    state = host_state(FakeCommands(answers), "docker.service", 0.0, str(tmp_path))
    assert state.going_down is going_down
    assert re.search(how, state.how)


def test_an_init_that_kills_what_is_left_is_seen_without_asking(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1/comm").write_text("systemd-shutdow\n")
    commands = FakeCommands()
    assert host_state(commands, None, 0.0, str(tmp_path)).going_down
    assert not commands.ran


TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
ANYWHERE = {"operator": "Exists"}


def affinity(*terms: Mapping[str, object]) -> dict[str, object]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def expression(operator: str, *values: str, key: str = LABEL) -> dict[str, object]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("pod_spec", "found", "selected"),
    [
        ({"nodeSelector": {LABEL: "true"}}, node(), True),
        ({"nodeSelector": {LABEL: "true"}}, node(other="x"), False),
        ({"nodeSelector": {LABEL: "true"}}, node(**{LABEL: "false"}), False),
        ({"affinity": affinity(expression("In", "true"))}, node(), True),
        ({"affinity": affinity(expression("In", "true"))}, node(other="x"), False),
        ({"affinity": affinity(expression("In", "x"), expression("Exists"))}, node(), True),
        ({"affinity": affinity(expression("NotIn", "true"))}, node(), False),
        ({"affinity": affinity(expression("NotIn", "true"))}, node(other="x"), True),
        ({"affinity": affinity(expression("DoesNotExist"))}, node(), False),
        ({"affinity": affinity(expression("Gt", "3", key="n"))}, node(n="4"), True),
        ({"affinity": affinity(expression("Lt", "3", key="n"))}, node(n="4"), False),
        ({"affinity": affinity(expression("Gt", "3", key="n"))}, node(n="many"), False),
        ({"affinity": affinity()}, node(), False),
        ({"affinity": affinity({})}, node(), False),
        (
            {"affinity": affinity({"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["worker-1"]}]})},
            node(),
            True,
        ),
        ({"dnsPolicy": "Default"}, node(TAINT), False),
        ({"dnsPolicy": "Default"}, node(CORDON), True),
        ({"dnsPolicy": "Default"}, node({**TAINT, "effect": "PreferNoSchedule"}), True),
        ({"tolerations": [ANYWHERE]}, node(TAINT), True),
        ({"tolerations": [{"key": "dedicated", "operator": "Exists"}]}, node(TAINT), True),
        ({"tolerations": [{"key": "dedicated", "value": "gpu"}]}, node(TAINT), True),
        ({"tolerations": [{"key": "dedicated", "value": "cpu"}]}, node(TAINT), False),
        ({"tolerations": [{**ANYWHERE, "effect": "NoExecute"}]}, node(TAINT), False),
    ],
)  # fmt: skip
def test_a_node_is_selected_as_kubernetes_controller_selects_it(
    *, pod_spec: dict[str, object], found: dict[str, object], selected: bool
) -> None:
    assert (selects(daemon_set(**pod_spec), found) == "") is selected


def test_a_rule_that_is_not_known_is_no_answer() -> None:
    with pytest.raises(UnknownRuleError, match="Near"):
        selects(daemon_set(affinity=affinity(expression("Near"))), node())
    with pytest.raises(UnknownRuleError, match="Gt"):
        selects(daemon_set(tolerations=[{"key": "dedicated", "operator": "Gt"}]), node(TAINT))


def test_the_node_is_asked_for_only_where_something_depends_on_it() -> None:
    assert not needs_node(daemon_set(tolerations=[ANYWHERE]))
    assert needs_node(daemon_set())
    assert needs_node(daemon_set(dnsPolicy="Default")), "a taint may keep the pod out"
    assert needs_node(daemon_set(tolerations=[ANYWHERE], affinity=affinity()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeApiServer]:
    with FakeApiServer(tmp_path) as running:
        yield running


def ask(server: FakeApiServer, seconds: float = LONG) -> tuple[Cluster, str]:
    deadline = time.monotonic() + seconds
    return ask_cluster(server.environment, deadline, str(server.account))


def test_a_daemon_set_that_goes_on_is_found_with_two_questions(server: FakeApiServer) -> None:
    cluster, found_out = ask(server)
    assert cluster is Cluster.GOES_ON, found_out
    assert len(server.asked) == 2


@pytest.mark.parametrize("foreground", [True, False])
def test_a_daemon_set_that_is_deleted_is_gone(server: FakeApiServer, *, foreground: bool) -> None:
    server.delete(foreground=foreground)
    assert ask(server)[0] is Cluster.GONE


def test_a_node_without_the_label_or_without_an_object_is_deselected(
    server: FakeApiServer,
) -> None:
    server.objects[NODE_PATH] = node(other="x")
    assert ask(server)[0] is Cluster.DESELECTED
    del server.objects[NODE_PATH]
    assert ask(server)[0] is Cluster.DESELECTED


def no_rights(server: FakeApiServer) -> None:
    server.status = 403


def no_token(server: FakeApiServer) -> None:
    (server.account / "token").write_text("of another pod")


def broken_token(server: FakeApiServer) -> None:
    (server.account / "token").write_text("secret\nof two lines")


def no_service_account(server: FakeApiServer) -> None:
    (server.account / "ca.crt").unlink()


def down(server: FakeApiServer) -> None:
    server.stop()


def of_another_ca(server: FakeApiServer) -> None:
    other = server.account.parent / "other"
    make_certificates(server.account.parent, other)
    (other / "ca.crt").replace(server.account / "ca.crt")


def moved(server: FakeApiServer) -> None:
    server.status = 301


def without_the_path(server: FakeApiServer) -> None:
    """A 404 of the kind that a server sends which knows no DaemonSets at all."""
    server.status = 404


def without_a_spec(server: FakeApiServer) -> None:
    server.objects[NODE_PATH] = {"kind": "Node"}


@pytest.mark.parametrize(
    ("trouble", "how"),
    [
        (no_rights, "403.*no right"),
        (no_token, "401.*not valid"),
        (broken_token, "service account can't be used: .*token holds more than one line$"),
        (no_service_account, "service account can't be used"),
        (down, "can't be asked"),
        (of_another_ca, "certificate verify failed"),
        (moved, "answers 301"),
        (without_the_path, "answers 404"),
        (without_a_spec, "answers 200"),
    ],
)
def test_what_the_server_does_not_say_is_unknown_with_the_reason(
    server: FakeApiServer, trouble: Callable[[FakeApiServer], None], how: str
) -> None:
    trouble(server)
    cluster, found_out = ask(server)
    assert cluster is Cluster.UNKNOWN
    assert re.search(how, found_out), found_out
    assert "of two lines" not in found_out, "which is of the token"


def test_a_server_that_answers_too_late_is_unknown(server: FakeApiServer) -> None:
    server.delay = 0.5
    assert ask(server, 0.2)[0] is Cluster.UNKNOWN


def test_a_server_that_never_takes_the_connection_is_unknown(server: FakeApiServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = str(mute.getsockname()[1])
        environment = {**server.environment, "KUBERNETES_SERVICE_PORT": port}
        deadline = time.monotonic() + 0.2
        cluster, _ = ask_cluster(environment, deadline, str(server.account))
    assert cluster is Cluster.UNKNOWN


def test_a_proxy_is_never_used(server: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(server)[0] is Cluster.GOES_ON


@pytest.mark.parametrize("missing", ["POD_NAMESPACE", "DAEMONSET_NAME", "NODE_NAME"])
def test_a_pod_that_is_not_told_its_names_can_not_ask(missing: str, server: FakeApiServer) -> None:
    environment = {key: value for key, value in server.environment.items() if key != missing}
    answer = ask_cluster(environment, time.monotonic() + LONG)
    assert answer == (Cluster.UNKNOWN, f"{missing} not set in the pod")


def test_outside_a_cluster_nothing_is_asked() -> None:
    assert ask_cluster({}, 0.0)[0] is Cluster.NONE
