"""`docker run` with a part left out: one clear line, of `plan` too, and `doctor` has a problem."""

from __future__ import annotations

import json
import re

import pytest

from tests.image.host import IMAGE, DockerHost

pytestmark = pytest.mark.image

ALL = ("--privileged", "--pid=host", "--volume=/:/host")
NO_ROOT = "this is a container, and the host's root is not mounted in it; mount it at /host .*"
NO_PIDS = "the process behind /var/run/docker.sock .*; run the container with hostPID: true .*"
MISTAKES = {
    "nothing at all": ((), ("--runtime=docker",), NO_ROOT),
    "no mount": (ALL[:2], ("--runtime=docker",), NO_ROOT),
    "no mount, and no engine named": (ALL[:2], (), NO_ROOT),
    "another place for the host": (
        (*ALL[:2], "--volume=/:/mnt"),
        ("--runtime=docker",),
        NO_ROOT,
    ),
    "a mount that is read-only": (
        (*ALL[:2], "--volume=/:/host:ro"),
        ("--runtime=docker",),
        "cannot lock .*: Read-only file system; mount it writable, or name another .*",
    ),
    "not privileged": (ALL[1:], ("--runtime=docker",), ".*run the container privileged.*"),
    "no host PIDs": ((ALL[0], ALL[2]), ("--runtime=docker",), NO_PIDS),
    "another engine than there is": (
        ALL,
        ("--runtime=crio", "--verify-timeout=0.1"),
        "crio can't be reached at .*; start it, or name its socket with .*",
    ),
    "Docker's socket and no more": (
        ("--volume=/var/run/docker.sock:/var/run/docker.sock",),
        ("--runtime=docker",),
        NO_PIDS,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_left_out_is_told_before_anything_is_done(docker: DockerHost, name: str) -> None:
    given, arguments, line = MISTAKES[name]
    docker.config.unlink(missing_ok=True)
    errors = {}
    for command in ((), ("plan",)):
        words = ("docker", "run", "--rm", "--network=none", *given, IMAGE, *command)
        said = docker.sh(f"{' '.join((*words, '--no-daemon', *arguments))} 2>&1 || echo rc=$?")
        found = re.findall(r" ERROR   (.*)", said)
        assert len(found) == 1, said
        assert re.fullmatch(line, found[0]), found[0]
        assert said.endswith("rc=1\n"), said
        errors[command] = found[0]
    assert errors[()] == errors["plan",]
    words = ("docker", "run", "--rm", "--network=none", *given, IMAGE, "doctor", *arguments)
    said = docker.sh(f"{' '.join(words)} --output=json 2>/dev/null || true")
    problems = [each for each in json.loads(said)["findings"] if each["verdict"] == "problem"]
    assert problems, said
    assert not docker.config.exists()
    assert not (docker.node.root / "usr/local/nvidia/toolkit").exists()
