"""Rows: what to do, where files go, and how the daemon behaves."""

from __future__ import annotations

from runtime_configs.model import EngineName
from toolkit.options import parsers
from toolkit.options.option import Option
from toolkit.options.rows import choice, optional_path, path, switch
from toolkit.settings import (
    Color,
    LogFormat,
    OnExit,
    OnExitUnknown,
    Output,
    PackageType,
    Verify,
)

COMPLETE = "_NVIDIA_TOOLKIT_COMPLETE"
"""The variable that a shell's completion script sets to ask for completions."""
READERS = ("plan", "status", "verify", "doctor")
"""The commands that take no lock and write nothing."""


def _engine(text: str) -> EngineName | None:
    return None if text == "auto" else EngineName(text)


RUNTIME = Option(
    flags=("--runtime", "-r"),
    variables=("RUNTIME",),
    parse=lambda text: _engine(
        parsers.one_word_of("auto", *(name.value for name in EngineName))(text)
    ),
    default=None,
    default_text="auto",
    metavar="|".join(("auto", *EngineName)),
    help="the engine to set up; auto asks the node",
)
NO_DAEMON = switch(
    ("--no-daemon", "-n"),
    ("NO_DAEMON",),
    "exit after the setup and leave everything in place; NRI mode is then ignored",
)
NO_RUNTIME_CONFIG = switch(
    ("--no-runtime-config",), ("NO_RUNTIME_CONFIG",), "install the files only, touch no engine"
)
INSTALL_DIR = path(
    ("--toolkit-install-dir", "--root"),
    ("TOOLKIT_INSTALL_DIR", "ROOT"),
    "/usr/local/nvidia",
    "files go to its directory toolkit",
    parsers.search_path_directory,
)
SOURCE_ROOT = optional_path(
    ("--toolkit-source-root",),
    ("TOOLKIT_SOURCE_ROOT",),
    "the payload: a directory with the packages unpacked in it",
    "/artifacts/<package type>",
)
PACKAGE_TYPE = Option(
    flags=("--toolkit-package-type",),
    variables=("TOOLKIT_PACKAGE_TYPE",),
    parse=lambda text: parsers.one_of(PackageType)(text or "auto"),
    default=PackageType.AUTO,
    metavar="auto|deb|rpm",
    help="which packages the payload comes from; auto looks for rpm, then dpkg, on the host",
    empty_variable_counts=True,
)
PID_FILE = Option(
    flags=("--pid-file",),
    variables=("TOOLKIT_PID_FILE", "PID_FILE"),
    parse=parsers.named("toolkit.pid"),
    default="/run/nvidia/toolkit/toolkit.pid",
    metavar="PATH",
    help="the lock of the one instance on a node; must be named toolkit.pid",
)
HOST_ROOT = optional_path(
    ("--host-root",),
    ("HOST_ROOT_MOUNT",),
    "the path of the host's root file system",
    "/host if that is a mount, else /",
)
DEBUG = switch(("--debug",), ("TOOLKIT_DEBUG",), "debug log, with tracebacks of failures")
IGNORE_ERRORS = Option(
    flags=("--ignore-errors",),
    parse=parsers.boolean,
    default=False,
    boolean=True,
    metavar="",
    hidden=True,
    help="for tests: continue without missing payload files",
)

ON_EXIT = choice(
    ("--on-exit",),
    ("TOOLKIT_ON_EXIT",),
    OnExit.AUTO,
    "at SIGTERM: revert the setup or keep it; auto: revert, unless the host is going down or our"
    " own DaemonSet goes on and selects this node",
)
ON_EXIT_UNKNOWN = choice(
    ("--on-exit-unknown",),
    ("TOOLKIT_ON_EXIT_UNKNOWN",),
    OnExitUnknown.REVERT,
    "with --on-exit=auto, if the cluster can't say whether our DaemonSet goes on",
)
STOP_TIMEOUT = Option(
    flags=("--stop-timeout",),
    variables=("TOOLKIT_STOP_TIMEOUT",),
    parse=parsers.seconds(zero=True),
    default=8.0,
    metavar="SECONDS",
    help="how long reload and verification may take at SIGTERM",
)
VERIFY = choice(
    ("--verify",),
    ("TOOLKIT_VERIFY",),
    Verify.SERVED,
    "served: the handlers must be reported and executable; run: a sandbox (Docker: a container)"
    " must also start with each of them",
)
VERIFY_TIMEOUT = Option(
    flags=("--verify-timeout",),
    variables=("TOOLKIT_VERIFY_TIMEOUT",),
    parse=parsers.seconds(zero=False),
    default=60.0,
    metavar="SECONDS",
    help="how long the engine may take to serve the handlers before all is rolled back",
)
RECONCILE_INTERVAL = Option(
    flags=("--reconcile-interval",),
    variables=("TOOLKIT_RECONCILE_INTERVAL",),
    parse=parsers.seconds(zero=True),
    default=30.0,
    metavar="SECONDS",
    help="time between checks for drift while idle; 0: never",
)
LOG_FORMAT = choice(
    ("--log-format",), ("TOOLKIT_LOG_FORMAT",), LogFormat.TEXT, "how log lines look on stderr"
)
COLOR = Option(
    flags=("--color",),
    variables=("NO_COLOR",),
    parse=parsers.one_of(Color),
    default=Color.AUTO,
    variable_means=Color.NEVER,
    metavar="auto|always|never",
    help="colours; auto: on a terminal; NO_COLOR with any value: never",
)
HEALTH_ADDRESS = Option(
    flags=("--health-address",),
    variables=("TOOLKIT_HEALTH_ADDRESS",),
    parse=parsers.health_address,
    default=None,
    default_text="off",
    metavar="[HOST]:PORT",
    help="serve /healthz, /readyz and /metrics there; without a host on every address",
)
READY_FILE = optional_path(
    ("--ready-file",),
    ("TOOLKIT_READY_FILE",),
    "exists while GPU containers can start",
    "toolkit-ready beside the pid file",
)
FEATURE_FILE = optional_path(
    ("--feature-file",),
    ("TOOLKIT_FEATURE_FILE",),
    "a file in Node Feature Discovery's features.d that labels the node while GPU containers can"
    " start: feature.node.kubernetes.io/nvidia-toolkit.ready=true",
)

OUTPUT = Option(
    flags=("--output",),
    parse=parsers.one_of(Output),
    default=Output.TEXT,
    metavar="text|json",
    help="how the result looks on stdout",
    commands=(*READERS, "revert"),
)
DETAILED_EXITCODE = Option(
    flags=("--detailed-exitcode",),
    parse=parsers.boolean,
    default=False,
    boolean=True,
    metavar="",
    help="exit with 5 if something would change, else with 0",
    commands=("plan",),
)
RUN = Option(
    flags=("--run",),
    parse=parsers.boolean,
    default=False,
    boolean=True,
    metavar="",
    help="start a sandbox (Docker: a container) briefly with each handler",
    commands=("verify",),
)
PURGE = Option(
    flags=("--purge",),
    parse=parsers.boolean,
    default=False,
    boolean=True,
    metavar="",
    help="remove the files even if the engine can't be asked whether a container needs them",
    commands=("revert",),
)
