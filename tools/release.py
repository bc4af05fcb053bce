"""Give the next release its version everywhere: ``make release VERSION=1.2.3``.

The changelog's "Unreleased" section becomes the release's, with today's date.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = (
    ("toolkit/version.py", r'^VERSION = ".*"$', 'VERSION = "{}"'),
    ("deploy/helm/Chart.yaml", r"^version: .*$", "version: {}"),
    ("deploy/helm/Chart.yaml", r"^appVersion: .*$", 'appVersion: "{}"'),
    ("Dockerfile", r"^ARG VERSION=.*$", "ARG VERSION={}"),
)
"""File, the one line that holds the version, and how it reads."""


def release(root: Path, version: str, day: str) -> None:
    """Write the version; raises ValueError for one that is none, or a place that is gone."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?", version):
        raise ValueError(f"{version!r} is not a version such as 1.2.3")
    heading = f"## [Unreleased]\n\n## [{version}] - {day}"
    for name, pattern, text in (*PLACES, ("CHANGELOG.md", r"^## \[Unreleased\]$", heading)):
        path = root / name
        written, count = re.subn(
            pattern, text.format(version), path.read_text(), flags=re.MULTILINE
        )
        if count != 1:
            raise ValueError(f"{name} has {count} lines like {pattern}")
        path.write_text(written)


if __name__ == "__main__":
    release(ROOT, sys.argv[1], dt.datetime.now(tz=dt.UTC).date().isoformat())
