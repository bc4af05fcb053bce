"""Render the Helm chart with Helm's own library, without a cluster.

``render [VALUES]`` prints the objects as JSON by template, ``lint`` the findings, ``manifests``
writes the files of deploy/manifests again, the list of variables against which the chart's notes
hold ``toolkit.env``, and the engines in the values' schema. VALUES are those of ``--set``, joined
by commas.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import helm_python as helm

from runtime_configs.model import EngineName
from toolkit.options.misspelt import KNOWN_VARIABLES

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy/helm"
MANIFESTS = {
    ROOT / "deploy/manifests/nvidia-toolkit-installer.yaml": "",
    ROOT / "deploy/manifests/nvidia-toolkit-installer-unprivileged.yaml": (
        "securityContext.privileged=false"
    ),
}
"""Each file with the values that it is rendered with."""
VARIABLES = CHART / "variables.txt"
SCHEMA = CHART / "values.schema.json"
NAMESPACE = "nvidia-toolkit"
HEADER = f"""\
# Written by `make manifests` from deploy/helm with {{values}}.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    # The installer's pod works on the node itself: in its PID namespace, with its root mounted.
    pod-security.kubernetes.io/enforce: privileged
"""


def render(values: str, name: str = "release", *, upgrade: bool = False) -> dict[str, str]:
    """Return what each template gives."""
    with helm.Chart.load(str(CHART)) as chart:
        given = helm.parse_set_string(values) if values else {}
        rendered: dict[str, str] = chart.render(
            given, name=name, namespace=NAMESPACE, is_upgrade=upgrade
        )
        return rendered


def manifests(values: str) -> str:
    """Return the plain manifests for these values."""
    rendered = render(values, name="nvidia-toolkit-installer")
    parts = [HEADER.format(values=values or "its default values")]
    for template in sorted(rendered):
        if template.endswith(".yaml"):
            objects = [each.strip() for each in rendered[template].split("\n---\n")]
            parts += [f"{each.removeprefix('---').strip()}\n" for each in objects if each]
    lines = "---\n".join(parts).splitlines()
    own = ("app.kubernetes.io/managed-by:", "helm.sh/chart:")
    return "\n".join(line for line in lines if not line.strip().startswith(own)) + "\n"


def variables() -> str:
    """Return the variables that the program and its entry point read, one a line."""
    return "".join(f"{name}\n" for name in KNOWN_VARIABLES)


def schema() -> str:
    """Return the schema of the values with the engines that there are."""
    engines = json.dumps(["auto", *EngineName])
    text = SCHEMA.read_text()
    return re.sub(r'("defaultRuntime": \{"enum": )\[.*?\]', rf"\g<1>{engines}", text)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("render", "lint", "manifests"))
    parser.add_argument("values", nargs="?", default="")
    given = parser.parse_args()
    try:
        if given.command == "render":
            sys.stdout.write(json.dumps(render(given.values)))
        elif given.command == "lint":
            sys.stdout.write(json.dumps(helm.lint(str(CHART))))
        else:
            for path, values in MANIFESTS.items():
                path.write_text(manifests(values))
            VARIABLES.write_text(variables())
            SCHEMA.write_text(schema())
    except helm.HelmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
