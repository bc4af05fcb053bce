"""The wrappers: shell scripts that start no process besides the one ``exec``.

An engine runs a runtime's wrapper several times for every container of the node, so a wrapper uses
only builtins of the shell. A runtime's wrapper prints nothing: its stderr ends up in the log of the
pod.
"""

from __future__ import annotations

import shlex

from toolkit.payload.source import CLI, HOOK, MODES, RUNTIME, RUNTIMES


def config_home(mode: str = "") -> str:
    """Return the directory of a runtime's config, the value of ``XDG_CONFIG_HOME``.

    It is relative to the toolkit directory. A runtime that takes its ``mode`` from its config has
    its own.
    """
    return f".config/{mode}" if mode else ".config"


def config_path(mode: str = "") -> str:
    """Return the path of the config, which is also the one that older runtimes look for."""
    return f"{config_home(mode)}/nvidia-container-runtime/config.toml"


CONFIG_PATH = config_path()
CONFIG_PATHS = (CONFIG_PATH, *map(config_path, MODES.values()))
"""The configs of all modes; each includes an administrator's edits of the first one."""
MARK = "# Written by nvidia-toolkit"
"""The first words of the second line of every wrapper: they identify a tree of ours."""

_DRIVER = ("/sys/module/nvidia", "/proc/driver/nvidia", "/sys/module/nvgpu", "/dev/dxg")
"""Present while a driver is loaded: nvidia.ko (its module, and what it registers), Tegra's nvgpu,
the paravirtual GPU of WSL. One ``stat`` each; a shell reads /proc/modules a byte at a time."""


_REFUSAL = "the NVIDIA driver is not loaded on this node, and the container asks for GPUs"
_REQUIRE_DRIVER = f"""\
_tk_create='' _tk_bundle=. _tk_log='' _tk_before='' _tk_asks=''
for _tk_word; do
    case $_tk_before in
    --bundle | -b) _tk_bundle=$_tk_word ;;
    --log) _tk_log=$_tk_word ;;
    esac
    case $_tk_word in
    create | run) _tk_create=yes ;;
    --bundle=*) _tk_bundle=${{_tk_word#*=}} ;;
    --log=*) _tk_log=${{_tk_word#*=}} ;;
    esac
    _tk_before=$_tk_word
done
_tk_config=$_tk_bundle/config.json
if [ "$_tk_create" ] && [ -f "$_tk_config" ] && [ -r "$_tk_config" ]; then
    while IFS= read -r _tk_line || [ "$_tk_line" ]; do
        case $_tk_line in
        *'"NVIDIA_VISIBLE_DEVICES="'*) ;;
        *'"NVIDIA_VISIBLE_DEVICES=void"'* | *'"NVIDIA_VISIBLE_DEVICES=none"'*) ;;
        *'"NVIDIA_VISIBLE_DEVICES='*) _tk_asks=yes ;;
        esac
        case $_tk_line in
        *'"/var/run/nvidia-container-devices/'*) _tk_asks=yes ;;
        esac
    done <"$_tk_config"
    if [ "$_tk_asks" ]; then
        if [ "$_tk_log" ]; then
            printf '{{"level":"error","msg":"%s"}}\\n' '{_REFUSAL}' >>"$_tk_log"
        fi
        printf '%s\\n' '{_REFUSAL}' >&2
        exit 1
    fi
fi"""
"""Refuses to create a container that asks for GPUs by its environment or by mounts.

Only a regular file is read: a FIFO would wait, and a device may never end. The engine reports the
message from the runtime's log (containerd, Docker) or its stderr (CRI-O). dash and busybox read a
byte per call: up to a millisecond per KB of a bundle's config (bash: a tenth of that), and only
when a container is created without a driver. grep would start a process and takes 2 ms for any
size.
"""


def wrapper(
    name: str,
    toolkit_dir: str,
    engine_runtime: str,
    mode: str = "",
    *,
    require_driver: bool = False,
) -> bytes:
    """Return the wrapper's text.

    ``toolkit_dir`` and ``engine_runtime`` (the low-level runtime for containers while there is no
    driver) are absolute paths on the host. With a ``mode`` there is no program of the wrapper's
    name: the main runtime runs in its place, with the config of that mode. With ``require_driver``,
    a container that asks for GPUs is not created without a driver.
    """
    real = shlex.quote(f"{toolkit_dir}/{RUNTIME if mode else name}.real")
    start = [f"{key}={value}" for key, value in _environment(name, toolkit_dir, mode)]
    lines = ["#!/bin/sh", f"{MARK}; replaced at its next start, so edits are lost."]
    if name not in RUNTIMES:
        return _text([*lines, *_assignments(start), f'exec {real} "$@"'])
    loaded = " || ".join(f"[ -e {path} ]" for path in _DRIVER)
    return _text(
        [
            *lines,
            f"if [ -x {real} ] && {{ {loaded}; }}; then",
            *(f"    {line}" for line in _assignments(start)),
            f'    exec {real} "$@"',
            "fi",
            *((_REQUIRE_DRIVER,) if require_driver else ()),
            f'exec {shlex.quote(engine_runtime)} "$@"',
        ]
    )


def engine_runtime_of(text: bytes) -> str | None:
    """Return the low-level runtime that a wrapper falls back on; None if the text is no wrapper."""
    last = text.rstrip(b"\n").rpartition(b"\n")[2].decode(errors="replace")
    try:
        words = shlex.split(last)
    except ValueError:
        return None
    is_exec = len(words) == len(("exec", "runtime", "$@")) and words[0] == "exec"
    return words[1] if is_exec and MARK.encode() in text else None


def _environment(name: str, toolkit_dir: str, mode: str) -> list[tuple[str, str]]:
    """Return the variables that the binary needs: for companions, libraries and its own config.

    An empty element in either search path would mean the current directory.
    """
    quoted = shlex.quote(toolkit_dir)
    values = [("PATH", f'{quoted}"${{PATH:+:$PATH}}"')]
    if name in RUNTIMES or name == HOOK:
        config = shlex.quote(f"{toolkit_dir}/{config_path(mode)}")
        values.append(("NVIDIA_CTK_CONFIG_FILE_PATH", config))
        # Releases before the variable above find their file by this one.
        values.append(("XDG_CONFIG_HOME", shlex.quote(f"{toolkit_dir}/{config_home(mode)}")))
    if name == CLI:
        values.append(("LD_LIBRARY_PATH", f'{quoted}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"'))
    return values


def _assignments(values: list[str]) -> list[str]:
    # Assigned first: some shells would split the expansions in arguments of export.
    names = " ".join(value.partition("=")[0] for value in values)
    return [*values, f"export {names}"]


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
