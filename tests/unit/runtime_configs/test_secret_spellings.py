"""One secret in every spelling that we know of: no log, plan, comparison or message shows it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from runtime_configs.formats.comparison import CHANGED, differing
from runtime_configs.formats.unified_diff import redacted_diff, unified_diff
from toolkit.logs import Level, json_line, text_line

PEM = "-----BEGIN RSA PRIVATE KEY-----\nhunter2\nAAAA/hunter2+x==\n-----END RSA PRIVATE KEY-----\n"

KEYS = (
    "password",
    "registry_pwd",
    "PASS",
    "db-pass",
    "passphrase",
    "passcode",
    "api_key",
    "apiKey",
    "API-KEY",
    "access_key",
    "aws_access_key_id",
    "secretAccessKey",
    "private_key",
    "client_key",
    "client-key-data",
    "AccountKey",
    "bearer",
    "set-cookie",
    "x-signature",
    "identitytoken",
    "auth",
    "creds",
    "key",
    "license_key",
    "licenseKey",
    "api.key",
    "ldap_bind_pw",
    "wifi-psk",
    "pin",
    "otp",
    "hmac",
)
TOML = {f"toml {key}": f'{key} = "hunter2"\n' for key in KEYS}
JSON = {f"json {key}": f'{{\n  "{key}": "hunter2"\n}}\n' for key in KEYS}
SHAPES = {
    "proxy": 'http-proxy = "http://node:hunter2@proxy.example:3128"\n',
    "proxy without a user": 'x = "http://:hunter2@proxy.example:3128"\n',
    "proxy with a user alone": 'x = "http://hunter2@proxy.example:3128"\n',
    "proxy with @ in the password": 'x = "http://node:hun@hunter2@proxy.example:3128"\n',
    "proxy with a slash in the password": "x = 'http://node:hunter2/x@proxy.example'\n",
    "proxy with a quote in the password": "x = 'http://node:\"hunter2@proxy.example'\n",
    "proxy in a comment": "# was http://node:hunter2@proxy\nx = 1\n",
    "proxy in a list": 'x = ["https://a:hunter2@b,https://c:hunter2@d"]\n',
    "proxy in capitals": 'x = "HTTP://NODE:hunter2@PROXY"\n',
    "proxy of another scheme": 'x = "socks5h://node:hunter2@proxy"\n',
    "proxy in a table": '[x]\n"a" = { b = "http://n:hunter2@p" }\n',
    "proxy in json": '{"x": "http://node:hunter2@proxy"}\n',
    "proxy with escaped slashes": '{"x": "http:\\/\\/node:hunter2@proxy"}\n',
    "proxy with escaped letters": '{"x": "http\\u003a//node\\u003ahunter2\\u0040proxy"}\n',
    "escaped letters in a key": '{\n  "p\\u0061ssword":\n  "hunter2"\n}\n',
    "escaped letters in a toml key": '"p\\u0061ssw\\U0000006Frd" = "hunter2"\n',
    "escaped dash": '{"args": ["\\u002d-pass\\u0077ord", "hunter2"]}\n',
    "pem in toml": f'x = """\n{PEM}"""\n',
    "pem in a toml literal": f"[x]\ny = '''\n{PEM}'''\nz = 1\n",
    "pem in json": json.dumps({"x": PEM}) + "\n",
    "pem in json with escaped dashes": json.dumps({"x": PEM}).replace("-", "\\u002d") + "\n",
    "pem in yaml": f"x: |\n  {PEM}".replace("\n", "\n  ") + "\ny: 1\n",
    "pem that is cut off": 'x = """\n' + PEM.partition("-----END")[0] + '"""\n',
    "pem in base64": 'x = "LS0tLS1CRUdJTiBSU0Ehunter2"\n',
    "bearer": 'x = "Bearer hunter2"\n',
    "bearer in a list": 'x = [\n  "a",\n  "bearer hunter2",\n]\n',
    "basic": '{"x": "Basic hunter2"}\n',
    "cookie": 'x = ["Cookie: id=hunter2"]\n',
    "signature in a query": 'x = "https://store.example/a?sig=hunter2"\n',
    "signature behind another": 'x = "https://store.example/a?se=2026&sig=hunter2&sp=r"\n',
    "amazon's signature": 'x = "https://a.example/?X-Amz-Signature=hunter2"\n',
    "key in a query": '{"x": "https://a.example/?key=hunter2"}\n',
    "argument": 'x = "login --password hunter2"\n',
    "argument with a sign": 'x = ["login", "--password=hunter2"]\n',
    "argument of its own": 'x = ["login", "--password", "hunter2"]\n',
    "argument on the next line": 'x = [\n  "--password",\n  "hunter2",\n]\n',
    "argument in json": '{\n "args": [\n  "--registry-pwd",\n  "hunter2"\n ]\n}\n',
    "argument in one line of json": '{"args":["--password","hunter2"]}\n',
    "argument in yaml": "args:\n- --password\n- hunter2\n",
    "argument that does not parse": 'x = [\n"--password",\n"hunter2"\n[y]\n',
    "name and value": '{\n "name": "DB_PASSWORD",\n "value": "hunter2"\n}\n',
    "one line of json": '{"a":{"b":1,"password":"hunter2"},"c":["hunter2"]}\n',
    "one line of toml": 'x = { a = 1, "api key" = "hunter2" }\n',
    "environment": 'x = ["NGC_API_KEY=hunter2"]\n',
    "login of an argument": 'x = "curl -u node:hunter2 https://a.example"\n',
    "login of an argument of its own": 'x = ["curl", "--user", "node:hunter2"]\n',
    "web hook": 'x = "https://hooks.slack.com/services/T0/B0/hunter2"\n',
    "connection": 'x = "DefaultEndpointsProtocol=https;AccountKey=hunter2;a=b"\n',
    "well-known token": 'x = "ghp_hunter2hunter2"\n',
    "nvidia's token": 'x = "nvapi-hunter2-hunter2"\n',
    "json web token": 'x = "eyJhbGciOi.hunter2.hunter2"\n',
    "quoted key": "'private key' = 'hunter2'\n",
    "template": 'x = "{{ .A }}"\npwd = {{ printf "%q" "hunter2" }}\n',
    "yaml": "registry:\n  pwd: hunter2\n",
    "json's key in capitals": '{"PASSPHRASE" : "hunter2"}\n',
}
SPELLINGS = {**TOML, **JSON, **SHAPES}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_neither_a_log_nor_a_plan_shows_it(text: str) -> None:
    content = text.encode()
    shown = []
    other = b"y = 1\n"
    for old, new in ((content, other), (other, content), (None, content), (content, None)):
        shown.append(redacted_diff("/x", old, new))
        shown.append(unified_diff("/x", old, new, known=content))
    shown.append(unified_diff("/x", content, content + b"ours = 1\n"))
    assert not [each for each in shown if "hunter2" in each]
    assert all(shown)


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
def test_a_restored_file_is_counted_and_not_shown(text: str) -> None:
    ours = text.encode() + b"ours = 1\n"
    shown = redacted_diff("/x", None, ours, known=text.encode())
    count = text.count("\n")
    note = f"{count} line{'s' if count > 1 else ''} restored as before, not shown"
    assert shown.splitlines()[3] == f"\\ {note}"
    assert len(shown.splitlines()) == 5


VALUES = {
    name: SHAPES[name].split('"')[1]
    for name in (
        *(name for name in SHAPES if name.startswith("proxy w") and '"' in SHAPES[name][:5]),
        "bearer",
        "signature in a query",
        "well-known token",
        "nvidia's token",
        "json web token",
        "pem in base64",
    )
}


@pytest.mark.parametrize("value", [*VALUES.values(), PEM], ids=[*VALUES.keys(), "pem"])
def test_a_message_or_a_comparison_that_quotes_it_does_not_show_it(value: str) -> None:
    for line in (text_line, json_line):
        assert "hunter2" not in line(0.0, Level.INFO, "a.b", f"it says {value}", {"x": [value]})
    assert "hunter2" not in "".join(differing({"x": value}, {"x": [value]}, (), CHANGED))


@pytest.mark.parametrize("side", ["old", "new", "both"])
def test_patch_refuses_a_plan_that_leaves_a_secret_out(tmp_path: Path, side: str) -> None:
    lines = ["a\n", 'password = "hunter2"\n', "b\n"]
    before = [lines[0], lines[2]] if side == "new" else lines
    after = {"old": [lines[0], lines[2]], "new": lines, "both": [lines[0], "pwd = 1\n", lines[2]]}
    (tmp_path / "x").write_text("".join(before))
    diff = unified_diff("/x", "".join(before).encode(), "".join(after[side]).encode())
    done = subprocess.run(
        ("/usr/bin/patch", "-p1", "--fuzz=0", "--directory", str(tmp_path)),
        input=diff + "# reload: no\n",
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode != 0
    assert (tmp_path / "x").read_text() == "".join(before)


def test_what_every_config_has_is_shown() -> None:
    text = """
version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
root = "/var/lib/containerd"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "registry.k8s.io/pause@sha256:7031c1b283388d2c2e09b57badb803c0"
[plugins."io.containerd.cri.v1.runtime"]
enable_unprivileged_ports = true
bypass_device_passthrough = false
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options]
BinaryName = "/usr/local/nvidia/toolkit/nvidia-container-runtime"
SystemdCgroup = true
[proxy_plugins.x]
address = "unix:///run/x.sock"
mirror = "https://mirror.example:5000/v2/"
key_model = "node"
hotplug_vfio = "root-port"
# the key of the image is read here, and a pin too; --user 1000:1000 is not
monkey = "george"
"""
    assert redacted_diff("/x", None, text.encode()).splitlines()[3:] == [
        f"+{line}" for line in text.splitlines()
    ]
