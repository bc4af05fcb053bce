"""The whole table, in the order of help and documentation."""

from __future__ import annotations

from toolkit.options import engine, general, payload
from toolkit.options.option import Group, Option

GROUPS: tuple[Group, ...] = (
    Group(
        title="This command",
        options=(general.OUTPUT, general.DETAILED_EXITCODE, general.RUN, general.PURGE),
    ),
    Group(
        title="General",
        options=(
            general.RUNTIME,
            general.NO_DAEMON,
            general.NO_RUNTIME_CONFIG,
            general.INSTALL_DIR,
            general.SOURCE_ROOT,
            general.PACKAGE_TYPE,
            general.HOST_ROOT,
            general.PID_FILE,
            general.IGNORE_ERRORS,
        ),
    ),
    Group(
        title="Life cycle and logs",
        options=(
            general.ON_EXIT,
            general.ON_EXIT_UNKNOWN,
            general.STOP_TIMEOUT,
            general.VERIFY,
            general.VERIFY_TIMEOUT,
            general.RECONCILE_INTERVAL,
            general.READY_FILE,
            general.FEATURE_FILE,
            general.HEALTH_ADDRESS,
            general.LOG_FORMAT,
            general.COLOR,
            general.DEBUG,
        ),
    ),
    Group(
        title="Engine",
        options=(
            engine.CONFIG,
            engine.DROP_IN,
            engine.DROP_IN_HOST_PATH,
            engine.EXECUTABLE_PATH,
            engine.SOCKET,
            engine.RESTART_MODE,
            engine.CONFIG_SOURCES,
            engine.HOOKS_DIR,
            engine.HOOK_FILENAME,
            engine.CONFIG_MODE,
        ),
    ),
    Group(
        title="Runtime handlers",
        options=(
            engine.HANDLER_NAME,
            engine.SET_AS_DEFAULT,
            engine.ENABLE_CDI,
            engine.RUNTIME_TYPE,
            engine.USE_LEGACY_CONFIG,
            engine.CONFIG_OVERRIDE,
        ),
    ),
    Group(
        title="Driver",
        options=(
            payload.DRIVER_ROOT,
            payload.DRIVER_ROOT_IN_CONTAINER,
            payload.DEV_ROOT,
            payload.DEV_ROOT_IN_CONTAINER,
            payload.REQUIRE_DRIVER,
            payload.DEV_CHAR_SYMLINKS,
        ),
    ),
    Group(
        title="The toolkit's config.toml",
        options=(
            payload.RUNTIME_DEBUG,
            payload.RUNTIME_LOG_LEVEL,
            payload.RUNTIME_MODE,
            payload.DEFAULT_KIND,
            payload.ANNOTATION_PREFIXES,
            payload.RUNTIMES,
            payload.SKIP_MODE_DETECTION,
            payload.CLI_DEBUG,
            payload.ACCEPT_ENVVAR,
            payload.ACCEPT_VOLUME_MOUNTS,
            payload.OPT_IN_FEATURES,
        ),
    ),
    Group(
        title="CDI",
        options=(
            payload.CDI_ENABLED,
            payload.CDI_ONLY,
            payload.CDI_OUTPUT_DIR,
            payload.CDI_KIND,
            payload.CREATE_DEVICE_NODES,
        ),
    ),
    Group(
        title="NRI",
        options=(
            payload.NRI_ENABLED,
            payload.NRI_INDEX,
            payload.NRI_SOCKET,
            payload.NRI_NAMESPACE,
            payload.NRI_MANAGEMENT_NAMESPACES,
        ),
    ),
)

OPTIONS: tuple[Option[object], ...] = tuple(option for group in GROUPS for option in group.options)
