"""What the image takes from a mirror: only what NVIDIA's key vouches for."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from testbed.payload_host import PayloadHost
from testbed.sample_payload import LIBRARY_DIRECTORIES, RELEASED, make_sample_payload
from toolkit.payload.source import RUNTIMES

PROGRAM = Path(__file__).parents[2] / "deploy/image/fetch_packages.py"
SBOM = PROGRAM.with_name("sbom.py")
DEVELOPMENT = {"deb": "libnvidia-container-dev", "rpm": "libnvidia-container-devel"}
"""Released beside the others; no host needs it."""
TOOLS = ("gpg", "gpgconf", "gpgv", "dpkg-deb")
VERSION = "1.20.0-1"
pytestmark = pytest.mark.skipif(
    not all(shutil.which(name) for name in TOOLS),
    reason="gpg and dpkg-deb make the test's mirror",
)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key of the test's own."""

    home: Path
    fingerprint: str

    def gpg(self, *arguments: str) -> bytes:
        command = ("gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", *arguments)
        return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    signer = Signer(home, "")
    signer.gpg("--passphrase", "", "--quick-gen-key", "mirror@example.com", "ed25519", "sign")
    listed = signer.gpg("--with-colons", "--list-keys").decode()
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line[:4] == "fpr:")
    yield Signer(home, fingerprint)
    # gpg leaves its agent running.
    command = ("gpgconf", "--homedir", str(home), "--kill", "all")
    subprocess.run(command, check=True)


@pytest.fixture
def mirror(tmp_path: Path, signer: Signer) -> Path:
    root = tmp_path / "mirror"
    deb = root / "stable/deb/amd64"
    deb.mkdir(parents=True)
    (root / "gpgkey").write_bytes(signer.gpg("--armor", "--export"))
    paragraphs = []
    for name in (*RELEASED, DEVELOPMENT["deb"]):
        tree = unpacked(tmp_path, name, "deb")
        (tree / "DEBIAN").mkdir()
        control = f"Package: {name}\nVersion: {VERSION}\nArchitecture: amd64\nMaintainer: nobody\n"
        (tree / "DEBIAN/control").write_text(f"{control}Description: of a test\n")
        package = deb / f"{name}.deb"
        subprocess.run(
            ("/usr/bin/dpkg-deb", "--root-owner-group", "--build", tree, package),
            check=True,
            capture_output=True,
        )
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        paragraphs.append(f"{control}Filename: ./{name}.deb\nSHA256: {digest}\n")
    packages = "\n".join(paragraphs)
    (deb / "Packages").write_text(packages)
    digest = hashlib.sha256(packages.encode()).hexdigest()
    release = tmp_path / "Release"
    release.write_text(f"Origin: test\nSHA256:\n {digest} {len(packages)} Packages\n")
    signer.gpg("--clearsign", "--output", str(deb / "InRelease"), str(release))
    rpm_side(root / "stable/rpm/x86_64", signer, tmp_path)
    return root


def unpacked(directory: Path, name: str, kind: Literal["deb", "rpm"]) -> Path:
    """Return what is in a package of NVIDIA's, as it unpacks."""
    tree = directory / kind / name
    if name in RELEASED:
        return make_sample_payload(tree, kind, release="1.20.0", packages=(name,))
    (tree / "usr/include").mkdir(parents=True)
    (tree / "usr/include/nvc.h").touch()
    return tree


def rpm_side(directory: Path, signer: Signer, work: Path) -> None:
    (directory / "repodata").mkdir(parents=True)
    common = "http://linux.duke.edu/metadata/common"
    entries = []
    for name in (*RELEASED, DEVELOPMENT["rpm"]):
        package = directory / f"{name}.rpm"
        with tarfile.open(package, "w") as archive:
            archive.add(unpacked(work, name, "rpm"), arcname=".")
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        entries.append(
            f"<package><name>{name}</name><version ver='1.20.0' rel='1'/>"
            f"<checksum type='sha256'>{digest}</checksum><location href='{name}.rpm'/></package>"
        )
    primary = gzip.compress(f"<metadata xmlns='{common}'>{''.join(entries)}</metadata>".encode())
    (directory / "repodata/primary.xml.gz").write_bytes(primary)
    index = directory / "repodata/repomd.xml"
    index.write_text(
        "<repomd xmlns='http://linux.duke.edu/metadata/repo'><data type='primary'>"
        f"<checksum type='sha512'>{hashlib.sha512(primary).hexdigest()}</checksum>"
        "<location href='repodata/primary.xml.gz'/></data></repomd>"
    )
    signer.gpg("--armor", "--detach-sign", "--output", f"{index}.asc", str(index))


def fetch(mirror: Path, fingerprint: str, target: Path) -> subprocess.CompletedProcess[str]:
    """Run the program with tar in place of rpm's unpacking: no rpm can be made here."""
    line = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import fetch_packages as f; "
        "import tarfile; f.unpack_rpm = lambda package, target: "
        "tarfile.open(package).extractall(target, filter='tar'); sys.exit(f.main())"
    )
    return subprocess.run(
        (
            *(sys.executable, "-c", line, str(PROGRAM.parent), f"--mirror=file://{mirror}"),
            *(f"--version={VERSION}", f"--fingerprint={fingerprint}", "--architecture=amd64"),
            str(target),
        ),
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_what_is_signed_is_unpacked(
    mirror: Path, signer: Signer, tmp_path: Path, kind: Literal["deb", "rpm"]
) -> None:
    done = fetch(mirror, signer.fingerprint, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    unpacked = tmp_path / "out" / kind
    programs = [name for names in RELEASED.values() for name in names if ".so" not in name]
    assert sorted(programs) == sorted(os.listdir(unpacked / "usr/bin"))
    assert (unpacked / LIBRARY_DIRECTORIES[kind] / "libnvidia-container.so.1").is_symlink()
    assert not (unpacked / "usr/include").exists(), "nothing more than the payload needs"


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_what_is_unpacked_can_be_installed(
    mirror: Path, signer: Signer, tmp_path: Path, kind: str
) -> None:
    assert fetch(mirror, signer.fingerprint, tmp_path / "out").returncode == 0
    host = PayloadHost(tmp_path / "node")
    flags = (f"--toolkit-source-root={tmp_path / 'out' / kind}", f"--toolkit-package-type={kind}")
    host.install(*flags)
    for name in RUNTIMES:
        assert (host.toolkit / name).stat().st_mode & 0o777 == 0o755


def test_another_key_than_the_pinned_one_is_refused(mirror: Path, tmp_path: Path) -> None:
    done = fetch(mirror, "0" * 40, tmp_path / "out")
    assert done.returncode == 1
    assert "not signed with the key" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("stable/deb/amd64/InRelease", "not signed with the key"),
        ("stable/deb/amd64/Packages", "signed is"),
        ("stable/deb/amd64/nvidia-container-toolkit.deb", "signed is"),
        ("stable/rpm/x86_64/repodata/repomd.xml", "not signed with the key"),
        ("stable/rpm/x86_64/repodata/primary.xml.gz", "signed is"),
        ("stable/rpm/x86_64/libnvidia-container1.rpm", "signed is"),
    ],
)
def test_a_file_that_somebody_changed_is_refused_by_its_name(
    mirror: Path, signer: Signer, tmp_path: Path, name: str, says: str
) -> None:
    content = bytearray((mirror / name).read_bytes())
    content[len(content) // 3] ^= 1
    (mirror / name).write_bytes(content)
    done = fetch(mirror, signer.fingerprint, tmp_path / "out")
    assert done.returncode == 1
    assert says in done.stderr
    assert name in done.stderr


def test_a_version_that_is_not_there_is_named(mirror: Path, signer: Signer, tmp_path: Path) -> None:
    listed = mirror / "stable/deb/amd64/Packages"
    assert VERSION in listed.read_text()
    done = subprocess.run(
        (
            *(sys.executable, str(PROGRAM), f"--mirror=file://{mirror}", "--version=9.9.9-1"),
            *(f"--fingerprint={signer.fingerprint}", "--architecture=amd64", str(tmp_path)),
        ),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "9.9.9-1 is not listed there" in done.stderr


def test_the_packages_and_each_file_of_them_are_in_the_bill_of_materials(
    mirror: Path, signer: Signer, tmp_path: Path
) -> None:
    artifacts = tmp_path / "out"
    assert fetch(mirror, signer.fingerprint, artifacts).returncode == 0
    packages = tmp_path / "packages"
    shutil.copytree(SBOM.parents[2] / "toolkit", packages / "toolkit")
    (packages / "a_b-1.5.dist-info").mkdir()
    (packages / "a_b-1.5.dist-info/METADATA").write_text(
        "Metadata-Version: 2.4\nName: a_b\nVersion: 1.5\nLicense-Expression: MIT\n"
    )
    command = (sys.executable, str(SBOM), str(packages), str(artifacts))
    printed = [
        subprocess.run(
            command, env={"SOURCE_DATE_EPOCH": "86400"}, check=True, capture_output=True
        ).stdout
        for _ in range(2)
    ]
    assert printed[0] == printed[1]
    document = json.loads(printed[0])
    assert document["metadata"]["timestamp"] == "1970-01-02T00:00:00Z"
    found = {each["bom-ref"]: each for each in document["components"]}
    assert found["pkg:pypi/a-b@1.5"]["licenses"] == [{"expression": "MIT"}]
    deb = (mirror / "stable/deb/amd64/libnvidia-container1.deb").read_bytes()
    listed = found[f"pkg:deb/nvidia/libnvidia-container1@{VERSION}?arch=amd64"]
    assert listed["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(deb).hexdigest()}]
    assert "/artifacts/deb/usr/bin/nvidia-ctk" in found
    assert "/artifacts/packages.json" not in found
    assert document["dependencies"] == [
        {"ref": document["metadata"]["component"]["bom-ref"], "dependsOn": list(found)}
    ]
