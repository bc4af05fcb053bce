"""A sample payload, made on the spot: small scripts in place of NVIDIA's binaries.

It has the layout of the real packages, unpacked, and works on a machine without a GPU: the
``nvidia-container-runtime`` of it hands everything on to the low-level runtime that its own
``config.toml`` names, so a real container runs through it. ``nvidia-ctk`` prints a CDI spec.

The wrappers start it only while a driver is loaded. On a machine without one, a mount namespace
makes it look loaded, for that process alone: ``WITH_DRIVER`` is the command's first part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

WITH_DRIVER: Final = (
    "unshare",
    "--mount",
    "--propagation=private",
    "/bin/sh",
    "-c",
    'mount -t tmpfs none /proc/driver && mkdir /proc/driver/nvidia && exec "$@"',
    "with-driver",
)
"""Runs the rest of the command where /proc/driver/nvidia is there; needs root."""

VERSION: Final = "1.99.0"
RELEASED: Final = {
    "libnvidia-container1": ("libnvidia-container.so", "libnvidia-container-go.so"),
    "libnvidia-container-tools": ("nvidia-container-cli",),
    "nvidia-container-toolkit-base": ("nvidia-container-runtime", "nvidia-ctk", "nvidia-cdi-hook"),
    "nvidia-container-toolkit": ("nvidia-container-runtime-hook",),
}
"""Which of NVIDIA's packages has which of the files.

By ``packaging/debian/*.install`` and ``packaging/rpm/SPECS`` of nvidia-container-toolkit 1.20.0, by
the Makefile and ``pkg/rpm/SPECS`` of libnvidia-container, which is released with it.
"""
UNRELEASED: Final = {
    "nvidia-container-toolkit-operator-extensions": (
        "nvidia-container-runtime.cdi",
        "nvidia-container-runtime.legacy",
    ),
}
"""Built with the others and held back: ``scripts/release-packages.sh`` of 1.20.0 leaves it out."""
LIBRARY_DIRECTORIES: Final = {"deb": "usr/lib/x86_64-linux-gnu", "rpm": "usr/lib64"}

_RUNTIME = """\
#!/bin/sh
# Sample of {name}, release {release}.
config=${{NVIDIA_CTK_CONFIG_FILE_PATH:-/etc/nvidia-container-runtime/config.toml}}
if [ "$SAMPLE_TRACE" ]; then
    printf '%s\\n' "{name} {release} $config $PATH" >>"$SAMPLE_TRACE"
fi
runtime=runc
while IFS= read -r line; do
    case $line in
    runtimes*=*\\"*)
        line=${{line#*\\"}}
        runtime=${{line%%\\"*}}
        ;;
    esac
done <"$config"
exec "$runtime" "$@"
"""

_PROGRAM = """\
#!/bin/sh
# Sample of {name}, release {release}.
if [ "$SAMPLE_TRACE" ]; then
    printf '%s\\n' "{name} {release} ${{LD_LIBRARY_PATH-}}" >>"$SAMPLE_TRACE"
fi
exit 0
"""

_CTK = """\
#!/bin/sh
# Sample of nvidia-ctk, release {release}: what the installer asks of it, and nothing else.
command="$1 $2"
shift 2
[ "$command" != 'cdi transform' ] || {{ command="$command $1"; shift; }}
for argument; do
    case $argument in
    --driver-root=*) driver=${{argument#*=}} ;;
    --dev-root=*) dev=${{argument#*=}} ;;
    --vendor=*) vendor=${{argument#*=}} ;;
    --class=*) class=${{argument#*=}} ;;
    --nvidia-cdi-hook-path=*) hook=${{argument#*=}} ;;
    --output=*) output=${{argument#*=}} ;;
    --input=*) input=${{argument#*=}} ;;
    --from=*) from=${{argument#*=}} ;;
    --to=*) to=${{argument#*=}} ;;
    esac
done
case $command in
'cdi generate')
    if ! [ -e "$dev/dev/nvidiactl" ]; then
        echo 'no NVIDIA device nodes found' >&2
        exit 1
    fi
    driver=${{driver%/}}
    {{
        cat <<END
---
cdiVersion: 0.5.0
kind: $vendor/$class
devices:
    - name: all
      containerEdits:
        deviceNodes:
END
        for node in "$dev"/dev/nvidia* "$dev"/dev/nvidia-caps/nvidia-cap*; do
            [ -e "$node" ] && ! [ -d "$node" ] || continue
            printf '            - path: %s\\n' "${{node#"${{dev%/}}"}}"
            printf '              hostPath: %s\\n' "$node"
        done
        cat <<END
containerEdits:
    env:
        - NVIDIA_VISIBLE_DEVICES=void
    hooks:
        - hookName: createContainer
          path: $hook
          args: [nvidia-cdi-hook, update-ldcache]
    mounts:
END
        # Of each library that a link leads to: the file with the version, as the real one does.
        for link in "$driver"/usr/lib*/lib*.so.1 "$driver"/usr/lib/*/lib*.so.1; do
            case $link in
            */libcuda.so.1 | */libnvidia-*) ;;
            *) continue ;;
            esac
            [ -e "$link" ] || [ -L "$link" ] || continue
            library=$(readlink "$link") || library=${{link##*/}}
            if ! [ -e "${{link%/*}}/$library" ]; then
                echo "failed to locate ${{link%/*}}/$library" >&2
                exit 1
            fi
            printf '        - hostPath: %s\\n' "${{link%/*}}/$library"
            printf '          containerPath: %s\\n' "${{link#"$driver"}}"
            echo '          options: [ro, nosuid, nodev, rbind, rprivate]'
        done
    }} >"${{output:-/dev/stdout}}"
    ;;
'cdi transform root')
    sed "s|hostPath: $from/|hostPath: ${{to%/}}/|" "$input" >"${{output:-/dev/stdout}}"
    ;;
'system create-device-nodes')
    mkdir -p "$dev/dev" && {{ [ -e "$dev/dev/nvidiactl" ] || : >"$dev/dev/nvidiactl"; }}
    ;;
*)
    echo "nvidia-ctk: unknown command $command" >&2
    exit 2
    ;;
esac
"""

_CONFIG = """\
#accept-nvidia-visible-devices-as-volume-mounts = false
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"

[nvidia-container-cli]
#debug = "/var/log/nvidia-container-toolkit.log"
environment = []
ldconfig = "@/sbin/ldconfig"
load-kmods = true

[nvidia-container-runtime]
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"

[nvidia-ctk]
path = "nvidia-ctk"
"""


def make_sample_payload(
    directory: Path,
    package_type: Literal["deb", "rpm"] = "deb",
    size: int = 0,
    *,
    release: str = VERSION,
    ship_config: bool = False,
    packages: Iterable[str] = (*RELEASED, *UNRELEASED),
) -> Path:
    """Make the payload, as these packages unpack, and return its root.

    ``size`` is in bytes: the files are padded to about so many together (the real payload has
    52 MB). ``release`` is in every file, so that two payloads differ in all of them.
    """
    binaries = directory / "usr/bin"
    libraries = directory / LIBRARY_DIRECTORIES[package_type]
    contents = RELEASED | UNRELEASED
    names = [name for package in packages for name in contents[package]]
    files = {}
    for name in names:
        if not name.endswith(".so"):
            files[binaries / name] = _script(name).format(name=name, release=release)
            continue
        files[libraries / f"{name}.{release}"] = f"Sample of {name}, release {release}.\n"
        libraries.mkdir(parents=True, exist_ok=True)
        link = libraries / f"{name}.1"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{name}.{release}")
    share = size // len(files)
    for path, text in files.items():
        content = text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + _padding(content, share - len(content)))
        path.chmod(0o755 if path.parent == binaries else 0o644)
    if ship_config:
        config = directory / "etc/nvidia-container-runtime/config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG)
    return directory


def _script(name: str) -> str:
    if name in ("nvidia-container-runtime-hook", "nvidia-container-cli", "nvidia-cdi-hook"):
        return _PROGRAM
    return _CTK if name == "nvidia-ctk" else _RUNTIME


def _padding(content: bytes, size: int) -> bytes:
    """Return bytes that a shell never reads (it has left by then) and that do not compress."""
    if size <= 0:
        return b""
    block = os.urandom(1 << 16)
    mark = b"exit\n" if content.startswith(b"#!") else b""
    return (mark + block * (size // len(block) + 1))[:size]
