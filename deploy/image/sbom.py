#!/usr/bin/env python3
"""Print what is in the image beyond its base, as CycloneDX 1.5 JSON, for the same content the same.

Usage: sbom.py PACKAGES ARTIFACTS, the directory of the Python packages and that of the payload. The
time is that of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

NAME = "nvidia-toolkit-installer"
Component = dict[str, Any]


def python_packages(directory: Path) -> Iterator[Component]:
    """Yield a component for each distribution that is installed in a directory."""
    for each in importlib.metadata.distributions(path=[str(directory)]):
        name = each.metadata["Name"].lower().replace("_", "-")
        purl = f"pkg:pypi/{quote(name)}@{quote(each.version)}"
        component = {"type": "library", "name": name, "version": each.version, "purl": purl}
        expression = each.metadata.get("License-Expression")
        text = each.metadata.get("License") or ""
        if expression:
            component["licenses"] = [{"expression": expression}]
        elif text and "\n" not in text:
            component["licenses"] = [{"license": {"name": text}}]
        yield {"bom-ref": purl, **component}


def payload_packages(directory: Path) -> Iterator[Component]:
    """Yield a component for each package that was fetched; none for files of the context."""
    listed = directory / "packages.json"
    for each in json.loads(listed.read_text()) if listed.exists() else ():
        name, version = each["name"], each["version"]
        purl = f"pkg:{each['kind']}/nvidia/{name}@{quote(version)}?arch={each['architecture']}"
        yield {
            "bom-ref": purl,
            "type": "library",
            "supplier": {"name": "NVIDIA"},
            "name": name,
            "version": version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": each["sha256"]}],
        }


def payload_files(directory: Path) -> Iterator[Component]:
    """Yield a component for each file that may get onto a host."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.parent != directory:
            name = f"/artifacts/{path.relative_to(directory)}"
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield {
                "bom-ref": name,
                "type": "file",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }


def document(packages: Path, artifacts: Path, version: str, epoch: int) -> dict[str, Any]:
    """Return the whole document; its serial number follows from what it says."""
    components = [
        *sorted(python_packages(packages), key=lambda each: each["bom-ref"]),
        *payload_packages(artifacts),
        *payload_files(artifacts),
    ]
    moment = dt.datetime.fromtimestamp(epoch, dt.UTC)
    main = {"bom-ref": NAME, "type": "container", "name": NAME, "version": version}
    content = json.dumps([main, components], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": main},
        "components": components,
        "dependencies": [
            {"ref": NAME, "dependsOn": [each["bom-ref"] for each in components]},
        ],
    }


def main() -> None:
    """Print it."""
    packages, artifacts = map(Path, sys.argv[1:])
    version: dict[str, str] = {}
    exec((packages / "toolkit/version.py").read_text(), version)  # noqa: S102 - the program's own
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    json.dump(document(packages, artifacts, version["VERSION"], epoch), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
