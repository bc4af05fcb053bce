"""``make bench``: measures, prints one table, keeps it as JSON.

An aim that is missed is told of and no failure: figures depend on the machine. The exit code is 1
if a section could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    growth,
    installation,
    instant,
    machine,
    memory,
    node,
    nri,
    probes,
    process,
    wrapper,
)
from benchmarks.figures import Figure, Report, markdown, plain, quieter
from benchmarks.picture import Lane, draw
from benchmarks.subject import Subject, ours, peer, settled
from testbed.packages import REPOSITORY
from testbed.sample_payload import VERSION, make_sample_payload
from testbed.supervised import private_directory

SIZE = 52_000_000
RESULTS = REPOSITORY / "benchmarks/RESULTS.md"
PICTURE = REPOSITORY / "docs/downtime.svg"
SECTIONS = ("process", "instant", "node", "idle", "wrapper", "payload", "growth", "nri", "probes")


def main() -> int:
    """Measure the wanted sections."""
    wanted = _arguments()
    environment = settled(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    report = Report()
    began = time.monotonic()
    with private_directory("bench-") as directory:
        described = machine.described(directory)
        picture = _measure(report, directory, wanted.only or SECTIONS)
    described["load_at_end"] = os.getloadavg()[0]
    described["seconds"] = round(time.monotonic() - began)
    print(plain(report.table()))
    for section, reason in report.skipped.items():
        print(f"not measured: {section}: {reason}")
    print(f"{described['seconds']} s on: {_sentence(described)}")
    wanted.output.parent.mkdir(parents=True, exist_ok=True)
    wanted.output.write_text(json.dumps(report.to_json(described), indent=2) + "\n")
    print(f"also in {wanted.output}")
    if wanted.write:
        RESULTS.write_text(_document(report, described, wanted.note))
        if picture is not None:
            PICTURE.write_text(picture)
    return 1 if report.skipped else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=REPOSITORY / ".cache/benchmarks.json",
        help="the JSON file (default: below .cache)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="also write benchmarks/RESULTS.md and docs/downtime.svg",
    )
    parser.add_argument("--note", default="", help="a sentence for RESULTS.md, on the machine")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="a section; may be repeated"
    )
    return parser.parse_args()


def _measure(report: Report, directory: Path, sections: list[str] | tuple[str, ...]) -> str | None:
    """Measure each section; one that fails is told of and the others go on."""
    payload = make_sample_payload(directory / "payload", size=SIZE)
    small = make_sample_payload(directory / "small")
    other = make_sample_payload(directory / "other", release=f"{VERSION}.1")
    other_installer = peer()
    subjects: tuple[Subject, ...] = (ours(),)
    if other_installer is not None:
        subjects = (*subjects, other_installer)
    pictures: list[str] = []

    def on_node() -> None:
        found = node.measure(payload, subjects)
        report.figures += found.figures
        lanes = (
            Lane(label="this installer", outage=found.ours),
            Lane(label="SIGHUP alone", outage=found.baseline),
        )
        pictures.append(draw(lanes))

    def keep(measure: Callable[[], list[Figure]]) -> Callable[[], None]:
        return lambda: report.figures.extend(quieter(measure))

    steps: dict[str, Callable[[], None]] = {
        "process": keep(lambda: process.measure(directory / "process", payload, subjects)),
        "instant": keep(lambda: instant.measure(payload, subjects)),
        "node": on_node,
        "idle": keep(lambda: memory.measure(directory / "idle", payload, subjects)),
        "wrapper": keep(lambda: wrapper.measure(directory / "wrapper", small)),
        "payload": keep(lambda: installation.measure(directory / "payloads", payload, other)),
        "nri": keep(lambda: nri.measure(directory / "nri")),
        "probes": keep(lambda: probes.measure(directory / "probes", small, ours())),
        "growth": keep(lambda: growth.measure(directory / "growth", small)),
    }
    for name in sections:
        (directory / name).mkdir(exist_ok=True)
        began = time.monotonic()
        reason = node.runs_here() if name == "node" else None
        if reason is None:
            try:
                steps[name]()
            except (OSError, RuntimeError, TimeoutError, AssertionError) as error:
                reason = str(error)
        if reason is not None:
            report.skipped[name] = reason
        sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")
    return pictures[0] if pictures else None


def _sentence(described: dict[str, object]) -> str:
    return (
        f"{described['processor']}, {described['cores']} cores, {described['memory_gib']} GiB,"
        f" {described['file_system']}, Linux {described['kernel']}, {described['distribution']},"
        f" Python {described['python']}; load {described['load_at_start']:.1f} at the start,"
        f" {described['load_at_end']:.1f} at the end"
    )


def _document(report: Report, described: dict[str, object], note: str) -> str:
    skipped = "".join(f"\nNot measured: {name}: {why}\n" for name, why in report.skipped.items())
    return (
        "# Results of `make bench`\n\n"
        f"{described['date']}, {described['seconds']} s, on: {_sentence(described)}. {note}\n\n"
        "Each value is a median, with the least and the greatest in brackets. What a row means,"
        " and what limits it, is in [docs/performance.md](../docs/performance.md).\n\n"
        f"{markdown(report.table())}\n{skipped}"
    )


if __name__ == "__main__":
    sys.exit(main())
