#!/usr/bin/env python3
"""Unpack NVIDIA's container toolkit packages of one version, their signatures checked.

Both kinds of repository sign their index alone, and the index holds each file's checksum: the chain
is key (by its fingerprint) > index > package list > package. Needs gpgv, dpkg-deb, rpm2cpio, cpio.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

PACKAGES = (
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit-base",
    "nvidia-container-toolkit",
)
RPM_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
MACHINES = {name: key for key, name in RPM_ARCHITECTURES.items()}
COMMON = "{http://linux.duke.edu/metadata/common}"
REPO = "{http://linux.duke.edu/metadata/repo}"
Package = tuple[str, bytes]
"""Name and content."""


class FetchError(Exception):
    """One line: what is wrong with which file of the mirror."""


class Mirror:
    """A copy of NVIDIA's package repository, and the key that its indices are signed with."""

    def __init__(self, url: str, fingerprint: str, work: Path) -> None:
        self.url = url.rstrip("/")
        self.fingerprint = fingerprint.replace(" ", "").upper()
        self.work = work
        self.keyring = work / "keyring.gpg"
        self.keyring.write_bytes(dearmored(self.read("gpgkey")))

    def read(self, path: str) -> bytes:
        """Return a file, unchecked."""
        url = f"{self.url}/{path}"
        if not re.match(r"(https?|file)://", url):
            raise FetchError(f"{url}: the mirror has to be an http(s) or file URL")
        try:
            with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - checked above
                content: bytes = response.read()
        except OSError as error:
            raise FetchError(f"{url}: {error}") from None
        return content

    def read_checked(self, path: str, algorithm: str, digest: str) -> bytes:
        """Return a file whose checksum is known from a signed one."""
        content = self.read(path)
        found = hashlib.new(algorithm, content).hexdigest()
        if found != digest.lower():
            raise FetchError(f"{self.url}/{path}: its {algorithm} is {found}, signed is {digest}")
        return content

    def read_signed(self, path: str, signature: str | None = None) -> bytes:
        """Return a file that the key has signed, in itself or in another file."""
        signed = self.work / "signed"
        signed.write_bytes(self.read(path))
        files = [str(signed)]
        if signature is not None:
            detached = self.work / "signature"
            detached.write_bytes(dearmored(self.read(signature)))
            files.insert(0, str(detached))
        text = self.work / "text"
        text.unlink(missing_ok=True)
        done = subprocess.run(
            (
                "/usr/bin/gpgv",
                "--status-fd=1",
                f"--keyring={self.keyring}",
                f"--output={text}",
                *files,
            ),
            check=False,
            capture_output=True,
            text=True,
        )
        # The last word of that line is the primary key, also where a subkey has signed.
        valid = re.findall(r"^\[GNUPG:\] VALIDSIG .* ([0-9A-F]+)$", done.stdout, re.MULTILINE)
        if done.returncode or self.fingerprint not in valid:
            raise FetchError(
                f"{self.url}/{path}: not signed with the key {self.fingerprint}: "
                + (done.stderr.strip().replace("\n", "; ") or f"signed by {', '.join(valid)}")
            )
        return signed.read_bytes() if signature is not None else text.read_bytes()


def dearmored(key: bytes) -> bytes:
    """Return the bytes of an OpenPGP file, which gpgv wants as they are."""
    if not key.lstrip().startswith(b"-----BEGIN PGP"):
        return key
    body = key.replace(b"\r", b"").split(b"-----")[2].partition(b"\n\n")[2]
    lines = [line for line in body.split(b"\n") if line and not line.startswith(b"=")]
    return base64.b64decode(b"".join(lines))


def deb_packages(mirror: Mirror, version: str, architecture: str) -> Iterator[Package]:
    """Yield the .deb files by name."""
    directory = f"stable/deb/{architecture}"
    release = mirror.read_signed(f"{directory}/InRelease").decode()
    listed = re.search(
        r"^ ([0-9a-f]{64}) +\d+ (?:\./)?Packages$", release.partition("\nSHA256:")[2], re.MULTILINE
    )
    if listed is None:
        raise FetchError(f"{mirror.url}/{directory}/InRelease: no SHA256 of Packages in it")
    packages = mirror.read_checked(f"{directory}/Packages", "sha256", listed[1]).decode()
    found = {}
    for paragraph in packages.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Version") == version:
            found[fields["Package"]] = (fields["Filename"].removeprefix("./"), fields["SHA256"])
    for name, path, digest in chosen(found, version, directory):
        yield name, mirror.read_checked(f"{directory}/{path}", "sha256", digest)


def rpm_packages(mirror: Mirror, version: str, architecture: str) -> Iterator[Package]:
    """Yield the .rpm files by name."""
    directory = f"stable/rpm/{RPM_ARCHITECTURES[architecture]}"
    index = f"{directory}/repodata/repomd.xml"
    repomd = ET.fromstring(mirror.read_signed(index, f"{index}.asc"))  # noqa: S314 - signed
    checksum = repomd.find(f"{REPO}data[@type='primary']/{REPO}checksum")
    location = repomd.find(f"{REPO}data[@type='primary']/{REPO}location")
    if checksum is None or location is None:
        raise FetchError(f"{mirror.url}/{index}: no list of packages in it")
    primary = mirror.read_checked(
        f"{directory}/{location.attrib['href']}", checksum.attrib["type"], checksum.text or ""
    )
    found = {}
    for package in ET.fromstring(gzip.decompress(primary)):  # noqa: S314 - signed
        edition = package.find(f"{COMMON}version")
        digest = package.find(f"{COMMON}checksum")
        place = package.find(f"{COMMON}location")
        if edition is None or digest is None or place is None:
            continue
        if f"{edition.attrib['ver']}-{edition.attrib['rel']}" == version:
            found[package.findtext(f"{COMMON}name", "")] = (
                place.attrib["href"],
                f"{digest.attrib['type']}:{digest.text}",
            )
    for name, path, text in chosen(found, version, directory):
        algorithm, _, digest_text = text.partition(":")
        yield name, mirror.read_checked(f"{directory}/{path}", algorithm, digest_text)


def chosen(
    found: dict[str, tuple[str, str]], version: str, directory: str
) -> list[tuple[str, str, str]]:
    """Return name, path and checksum of the packages that are wanted."""
    missing = [name for name in PACKAGES if name not in found]
    if missing:
        raise FetchError(f"{directory}: {', '.join(missing)} {version} is not listed there")
    return [(name, *found[name]) for name in PACKAGES]


def unpack_deb(package: Path, target: Path) -> None:
    """Unpack one .deb file."""
    subprocess.run(("/usr/bin/dpkg-deb", "--extract", package, target), check=True)


def unpack_rpm(package: Path, target: Path) -> None:
    """Unpack one .rpm file."""
    archive = subprocess.run(
        ("/usr/bin/rpm2cpio", package), check=True, stdout=subprocess.PIPE
    ).stdout
    subprocess.run(
        ("/usr/bin/cpio", "--extract", "--make-directories", "--no-absolute-filenames", "--quiet"),
        check=True,
        input=archive,
        cwd=target,
    )


def main() -> int:
    """Fill ``deb`` and ``rpm`` below the target directory, and list the packages beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", required=True, help="base URL: above gpgkey and stable/")
    parser.add_argument("--version", required=True, help="such as 1.20.0-1")
    parser.add_argument("--fingerprint", required=True, help="of the key that signs")
    parser.add_argument("--architecture", default="", choices=("", *RPM_ARCHITECTURES))
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    architecture = given.architecture or MACHINES[platform.machine()]
    kinds = {"deb": (deb_packages, unpack_deb), "rpm": (rpm_packages, unpack_rpm)}
    listed: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "package"
        try:
            mirror = Mirror(given.mirror, given.fingerprint, Path(directory))
            for kind, (packages, unpack) in kinds.items():
                (given.target / kind).mkdir(parents=True, exist_ok=True)
                for name, content in packages(mirror, given.version, architecture):
                    package.write_bytes(content)
                    unpack(package, given.target / kind)
                    listed.append(
                        {
                            "kind": kind,
                            "name": name,
                            "version": given.version,
                            "architecture": architecture,
                            "sha256": hashlib.sha256(content).hexdigest(),
                        }
                    )
        except FetchError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    (given.target / "packages.json").write_text(json.dumps(listed, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
