"""Rows: what to do, where files go, and how the daemon behaves."""

from __future__ import annotations

from runtime_configs.model import EngineName
from toolkit.options import parsers
from toolkit.options.option import OFF, OPTIONAL_PATH, Group, Value, choice, path
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


def _engine(text: str) -> EngineName | None:
    word = parsers.one_word_of("auto", *EngineName)(text)
    return None if word == "auto" else EngineName(word)


def _package_type(text: str) -> PackageType:
    return parsers.one_of(PackageType)(text or "auto")


COMMAND = Group("This command")
OUTPUT = COMMAND.add(
    "--output",
    "",
    choice(Output.TEXT),
    "how the result looks on stdout",
    commands=("plan", "status", "verify", "doctor", "revert"),
)
DETAILED_EXITCODE = COMMAND.add(
    "--detailed-exitcode",
    "",
    OFF,
    "exit with 5 if something would change, else with 0",
    commands=("plan",),
)
RUN = COMMAND.add(
    "--run",
    "",
    OFF,
    "start a sandbox (Docker: a container) briefly with each handler",
    commands=("verify",),
)
PURGE = COMMAND.add(
    "--purge",
    "",
    OFF,
    "remove the files even if the engine can't be asked whether a container needs them",
    commands=("revert",),
)

GENERAL = Group("General")
RUNTIME = GENERAL.add(
    "--runtime -r",
    "RUNTIME",
    Value(_engine, "|".join(("auto", *EngineName)), None),
    "the engine to set up; auto asks the node",
    default_text="auto",
)
NO_DAEMON = GENERAL.add(
    "--no-daemon -n",
    "NO_DAEMON",
    OFF,
    "exit after the setup and leave everything in place; NRI mode is then ignored",
)
NO_RUNTIME_CONFIG = GENERAL.add(
    "--no-runtime-config", "NO_RUNTIME_CONFIG", OFF, "install the files only, touch no engine"
)
INSTALL_DIR = GENERAL.add(
    "--toolkit-install-dir --root",
    "TOOLKIT_INSTALL_DIR ROOT",
    path("/usr/local/nvidia", parsers.search_path_directory),
    "files go to its directory toolkit",
)
SOURCE_ROOT = GENERAL.add(
    "--toolkit-source-root",
    "TOOLKIT_SOURCE_ROOT",
    OPTIONAL_PATH,
    "the payload: a directory with the packages unpacked in it",
    default_text="/artifacts/<package type>",
)
PACKAGE_TYPE = GENERAL.add(
    "--toolkit-package-type",
    "TOOLKIT_PACKAGE_TYPE",
    Value(_package_type, "|".join(PackageType), PackageType.AUTO),
    "which packages the payload comes from; auto looks for rpm, then dpkg, on the host",
)
HOST_ROOT = GENERAL.add(
    "--host-root",
    "HOST_ROOT_MOUNT",
    OPTIONAL_PATH,
    "the path of the host's root file system",
    default_text="/host if that is a mount, else /",
)
PID_FILE = GENERAL.add(
    "--pid-file",
    "TOOLKIT_PID_FILE PID_FILE",
    path("/run/nvidia/toolkit/toolkit.pid", parsers.pid_file),
    "the lock of the one instance on a node; must be named toolkit.pid",
)
IGNORE_ERRORS = GENERAL.add(
    "--ignore-errors", "", OFF, "for tests: continue without missing payload files", hidden=True
)

LIFE_CYCLE = Group("Life cycle and logs")
ON_EXIT = LIFE_CYCLE.add(
    "--on-exit",
    "TOOLKIT_ON_EXIT",
    choice(OnExit.AUTO),
    "at SIGTERM: revert the setup or keep it; auto: revert, unless the host is going down or our"
    " own DaemonSet goes on and selects this node",
)
ON_EXIT_UNKNOWN = LIFE_CYCLE.add(
    "--on-exit-unknown",
    "TOOLKIT_ON_EXIT_UNKNOWN",
    choice(OnExitUnknown.REVERT),
    "with --on-exit=auto, if the cluster can't say whether our DaemonSet goes on",
)
STOP_TIMEOUT = LIFE_CYCLE.add(
    "--stop-timeout",
    "TOOLKIT_STOP_TIMEOUT",
    Value(parsers.seconds(zero=True), "SECONDS", 8.0),
    "how long reload and verification may take at SIGTERM",
)
VERIFY = LIFE_CYCLE.add(
    "--verify",
    "TOOLKIT_VERIFY",
    choice(Verify.SERVED),
    "served: the handlers must be reported and executable; run: a sandbox (Docker: a container)"
    " must also start with each of them",
)
VERIFY_TIMEOUT = LIFE_CYCLE.add(
    "--verify-timeout",
    "TOOLKIT_VERIFY_TIMEOUT",
    Value(parsers.seconds(zero=False), "SECONDS", 60.0),
    "how long the engine may take to serve the handlers before all is rolled back",
)
RECONCILE_INTERVAL = LIFE_CYCLE.add(
    "--reconcile-interval",
    "TOOLKIT_RECONCILE_INTERVAL",
    Value(parsers.seconds(zero=True), "SECONDS", 30.0),
    "time between checks for drift while idle; 0: never",
)
READY_FILE = LIFE_CYCLE.add(
    "--ready-file",
    "TOOLKIT_READY_FILE",
    OPTIONAL_PATH,
    "exists while GPU containers can start",
    default_text="toolkit-ready beside the pid file",
)
FEATURE_FILE = LIFE_CYCLE.add(
    "--feature-file",
    "TOOLKIT_FEATURE_FILE",
    OPTIONAL_PATH,
    "a file in Node Feature Discovery's features.d that labels the node while GPU containers can"
    " start: feature.node.kubernetes.io/nvidia-toolkit.ready=true",
)
HEALTH_ADDRESS = LIFE_CYCLE.add(
    "--health-address",
    "TOOLKIT_HEALTH_ADDRESS",
    Value(parsers.health_address, "[HOST]:PORT", None),
    "serve /healthz, /readyz and /metrics there; without a host on every address",
    default_text="off",
)
LOG_FORMAT = LIFE_CYCLE.add(
    "--log-format", "TOOLKIT_LOG_FORMAT", choice(LogFormat.TEXT), "how log lines look on stderr"
)
COLOR = LIFE_CYCLE.add(
    "--color",
    "NO_COLOR",
    choice(Color.AUTO),
    "colours; auto: on a terminal; NO_COLOR with any value: never",
    variable_means=Color.NEVER,
)
DEBUG = LIFE_CYCLE.add("--debug", "TOOLKIT_DEBUG", OFF, "debug log, with tracebacks of failures")
