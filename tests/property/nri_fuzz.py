"""Fuzz the NRI plugin's parsers for a given time: ``python -m tests.property.nri_fuzz SECONDS``.

The inputs are mutations of valid conversations, and random bytes; ``nri_atheris`` looks for them by
coverage. Prints the number of inputs and the memory that is resident; exits 1 on an uncaught error,
or when memory has grown by more than 4 MiB since the warm-up.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from tests.property.nri_target import SHAPES, run_session
from toolkit.nri.protos.nri_pb2 import (
    ConfigureRequest,
    Container,
    CreateContainerRequest,
    PodSandbox,
    SynchronizeRequest,
)
from toolkit.nri.protos.ttrpc_pb2 import Request
from toolkit.nri.session import PLUGIN_SERVICE

WARM_UP = 20_000
"""Inputs before memory is first measured."""
MOST_GROWTH = 4 << 20


def resident() -> int:
    """Return the bytes of memory that this process has resident."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def seeds() -> list[bytes]:
    """Return an input of each shape that is a valid conversation."""
    pod = PodSandbox(
        id="p",
        name="pod",
        namespace="default",
        annotations={"nvidia.cdi.k8s.io": "nvidia.com/gpu=0"},
    )
    request = CreateContainerRequest(pod=pod, container=Container(id="c", name="main"))
    creation = request.SerializeToString()
    calls = [
        Request(service=PLUGIN_SERVICE, method=method, payload=payload, timeout_nano=2_000_000_000)
        for method, payload in (
            (
                "Configure",
                ConfigureRequest(
                    runtime_name="containerd", request_timeout=2000
                ).SerializeToString(),
            ),
            ("Synchronize", SynchronizeRequest(more=True).SerializeToString()),
            ("CreateContainer", creation),
            ("StateChange", b""),
        )
    ]
    found = [b"\x03" + creation, b"\x05main\nnvidia.com/gpu=0,management.nvidia.com/gpu=all"]
    for call in (each.SerializeToString() for each in calls):
        framed = len(call).to_bytes(4, "big") + b"\0\0\0\1\1\0" + call
        muxed = b"\0\0\0\1" + len(framed).to_bytes(4, "big") + framed
        found += [b"\x02" + call, b"\x01" + framed, b"\x00" + muxed * 2]
    return [*found, b"\x04\x0a\x04\x08\x02\x12\x00"]


def mutate(source: random.Random, data: bytes) -> bytes:
    """Return the input with a few bytes changed, removed, doubled or put in."""
    out = bytearray(data)
    for _ in range(source.randint(0, 6)):
        position = source.randrange(len(out) + 1)
        match source.randrange(4):
            case 0:
                out[position : position + 1] = source.randbytes(1)
            case 1:
                del out[position : position + source.randint(1, 8)]
            case 2:
                out[position:position] = source.randbytes(source.randint(1, 12))
            case _:
                out[position:position] = out[max(0, position - 16) : position]
    return bytes(out)


def by_mutation(seconds: float, seed: int) -> int:
    """Run mutations until the time is over; return the number of inputs."""
    source = random.Random(seed)  # noqa: S311 - inputs, no secrets
    corpus = seeds()
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        for _ in range(500):
            if source.random() < 0.1:
                head = bytes([source.randrange(SHAPES)])
                run_session(head + source.randbytes(source.randint(0, 200)))
            else:
                run_session(mutate(source, source.choice(corpus)))
        count += 500
        if count == WARM_UP:
            before = resident()
    now = resident()
    sys.stdout.write(f"{count} inputs, {now >> 10} KiB resident at the end\n")
    if count > WARM_UP and now - before > MOST_GROWTH:
        sys.exit(f"memory has grown by {(now - before) >> 10} KiB")
    return count


if __name__ == "__main__":
    by_mutation(float(sys.argv[1]), int.from_bytes(os.urandom(8)))
