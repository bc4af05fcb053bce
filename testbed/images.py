"""Container images made on the spot: a static busybox in an OCI archive, no registry needed."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

BUSYBOX_IMAGE = "toolkit.test/busybox:1"
APPLETS = ("cat", "echo", "env", "id", "ls", "mount", "ps", "sh", "sleep", "true", "uname")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_oci_archive(archive: Path, busybox: Path, name: str = BUSYBOX_IMAGE) -> Path:
    """Write an image whose process sleeps for ever unless it is given another command."""
    layer = _layer(busybox.read_bytes())
    config = _json(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Cmd": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created_by": "busybox"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    entry["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name,
    }
    index = _json({"schemaVersion": 2, "manifests": [entry]})
    # docker load before 25 reads this file; an OCI index is all that containerd wants.
    docker = _json([{"Config": _blob(config), "RepoTags": [name], "Layers": [_blob(layer)]}])
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", index)
        _add(tar, "manifest.json", docker)
        for blob in (layer, config, manifest):
            _add(tar, _blob(blob), blob)
    return archive


def _layer(busybox: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        _add(tar, "bin/busybox", busybox, mode=0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return "blobs/" + _digest(content).replace(":", "/")


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
