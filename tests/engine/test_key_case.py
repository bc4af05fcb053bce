"""However a handler is spelled, and whichever shim it has: what a pod runs is what verify says."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from dataclasses import dataclass

import grpc
import pytest

from testbed.containerd import RealContainerd
from tests.engine.controls import control, engine_settings
from tests.engine.marks import Marks
from tests.unit.containerd.hosts import V2, V3
from toolkit.engine.containerd.control import ContainerdControl
from toolkit.engine.facts import Expectation
from toolkit.engine.verify import shortcomings

pytestmark = pytest.mark.engine

OURS = "'OURS'"
"""Stands for the binary that verify expects of a handler; THEIRS for another one."""
SPELLINGS = ("BinaryName", "binaryName", "binaryname", "BINARYNAME", "Binaryname", "bINARYNAME")
RUNC = "runtime_type = 'io.containerd.runc.v2'"
OLD = "runtime_type = 'io.containerd.runtime.v1.linux'"


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler's table, its options, and what an imported file adds to both."""

    table: str = RUNC
    options: str | None = None
    imported: str | None = None
    levels: tuple[str, str, str] = ("containerd", "runtimes", "options")


def spellings() -> list[Handler]:
    """Return every spelling alone, every pair in both orders, and some of three."""
    found = [Handler(options=f"{each} = {OURS}") for each in SPELLINGS]
    found += [
        Handler(options=f"{one} = {OURS}\n{other} = 'THEIRS'")
        for one, other in itertools.permutations(SPELLINGS, 2)
    ]
    draw = random.Random(14)  # noqa: S311 - the same choice each time
    for _ in range(6):
        ours, *others = draw.sample(SPELLINGS, 3)
        found.append(
            Handler(options="".join(f"{each} = 'THEIRS'\n" for each in others) + f"{ours} = {OURS}")
        )
    found += [
        Handler(options=f"BinaryName = {OURS}\nsystemdCgroup = false\nSystemdCgroup = false"),
        Handler(options=f"BinaryName = ''\nbinaryName = {OURS}"),
        Handler(options=f"BinaryName = {OURS}\nbinaryName = ''"),
    ]
    return found


def levels() -> list[Handler]:
    """Return other spellings of the tables above the option."""
    words = ("containerd", "runtimes", "options")
    forms = (str.upper, str.capitalize)
    return [
        Handler(
            options=f"BinaryName = {OURS}",
            levels=tuple(form(each) if each == word else each for each in words),  # type: ignore[arg-type]
        )
        for word in words
        for form in forms
    ] + [
        Handler(table=f"{key} = 'io.containerd.runc.v2'", options=f"BinaryName = {OURS}")
        for key in ("RUNTIME_TYPE", "Runtime_Type")
    ]


def shims() -> list[Handler]:
    """Return the types of shims that may stand there, with the keys that each may have."""
    binary = f"BinaryName = {OURS}"
    types = ("io.containerd.runc.v1", "my.own.runc.v2", "IO.containerd.runc.v2", "SHIM/copy-v2", "")
    found = [Handler(f"runtime_type = '{each}'", binary) for each in types]
    found += [
        Handler(f"{RUNC}\nruntime_path = 'SHIM/containerd-shim-runc-v2'", binary),
        Handler("snapshotter = ''", binary),
        Handler(RUNC, f"Runtime = {OURS}"),
        Handler(OLD, binary),
        Handler(OLD, f"Runtime = {OURS}"),
        Handler(OLD, f"runtime = {OURS}"),
        Handler(f"{OLD}\nruntime_engine = {OURS}"),
        Handler(f"{OLD}\nruntime_engine = {OURS}", "SystemdCgroup = false"),
        Handler(f"{OLD}\nruntime_engine = 'THEIRS'", f"Runtime = {OURS}"),
    ]
    return found


def merges() -> list[Handler]:
    """Return handlers of which two files give a part each; 1.x does not merge and reads one."""
    draw = random.Random(15)  # noqa: S311
    pairs = [(one, other) for one in SPELLINGS for other in SPELLINGS]
    return [
        Handler(options=f"{one} = {first}", imported=f"{other} = {second}")
        for one, other in draw.sample(pairs, 12)
        for first, second in ((OURS, "'THEIRS'"), ("'THEIRS'", OURS))
    ]


def write(containerd: RealContainerd, handlers: list[Handler], marks: Marks) -> None:
    """Write each of them under a number, with a binary of its own that leaves a mark."""
    new = containerd.release.series.startswith("2")
    plugin = f"[plugins.'{V3 if new else V2}'."
    version = f"version = {3 if new else 2}\n"
    drop_in = containerd.directory / "etc/more.toml"
    text = version + (f"imports = ['{drop_in}']\n" if new else "")
    text += f"{plugin}containerd.runtimes.runc]\n{RUNC}\n"
    imported = version
    for number, each in enumerate(handlers):
        top, middle, options = each.levels
        ours, theirs = marks.binary(f"ours-{number}"), marks.binary(f"theirs-{number}")
        own = f"{plugin}{top}.{middle}.h{number}]\n{each.table}\n"
        if each.options is not None:
            own += f"{plugin}{top}.{middle}.h{number}.{options}]\n{each.options}\n"
        more = ""
        if each.imported is not None:
            more = f"{plugin}containerd.runtimes.h{number}.options]\n{each.imported}\n"
        for part, place in (("OURS", ours), ("THEIRS", theirs), ("SHIM", str(marks.directory))):
            own, more = own.replace(part, place), more.replace(part, place)
        text, imported = text + own, imported + more
    containerd.config.write_text(text)
    drop_in.write_text(imported)


def ran(containerd: RealContainerd, marks: Marks, number: int) -> set[str]:
    """Return which of its binaries a pod of a handler starts; none where it can't be started."""
    marks.clear()
    try:
        containerd.cri.run_to_end(f"h{number}", ("/bin/true",))
    except grpc.RpcError:
        return set()
    return marks.left()


@pytest.mark.parametrize("kind", [spellings, levels, shims, merges])
def test_verify_says_yes_only_where_a_pod_runs_ours(
    containerd: RealContainerd, kind: object
) -> None:
    assert callable(kind)
    handlers: list[Handler] = kind()
    marks = Marks(containerd)
    shim = containerd.release.programs / "containerd-shim-runc-v2"
    for name in ("containerd-shim-runc-v2", "copy-v2"):
        shutil.copy(shim, marks.directory / name)
    write(containerd, handlers, marks)
    containerd.start()
    containerd.import_image()
    engine = control(ContainerdControl, engine_settings(containerd.config, containerd.socket))
    served = engine.facts(time.monotonic() + 20.0).served
    right, wrong, cautious = 0, [], []
    for number, each in enumerate(handlers):
        wanted = (f"h{number}", marks.path(f"ours-{number}"))
        expected = Expectation(served=(wanted,), runnable=True)
        said = shortcomings(expected, served)
        runs = ran(containerd, marks, number) == {f"ours-{number}"}
        if runs and said:
            cautious.append((each, said))
        elif not runs and not said:
            wrong.append(each)
        right += runs and not said
    assert wrong == []
    assert right > 0
    # A table with two spellings runs ours on this containerd, and something else on another one.
    assert all("spellings" in said[0] for _, said in cautious), cautious
