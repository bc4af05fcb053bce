"""Build the frozen Settings: every option is read and checked here, once."""

from __future__ import annotations

import posixpath

from runtime_configs.distros.table import plain_row
from runtime_configs.model import EngineName
from toolkit.errors import UsageError
from toolkit.host.given_mounts import default_host_root
from toolkit.options import engine as rows
from toolkit.options import general, misspelt, payload
from toolkit.options.lookup import Reading, Sources
from toolkit.settings import (
    HANDLERS_BESIDE,
    CdiSettings,
    CrioSettings,
    DriverSettings,
    EngineSettings,
    GivenPath,
    LifecycleSettings,
    NriSettings,
    PayloadSettings,
    RuntimeConfigSettings,
    Settings,
)


def build_settings(sources: Sources) -> Settings:
    """Read and check everything; raises UsageError naming the flag or variable."""
    read = sources.read
    runtime = read(general.RUNTIME).value
    # The other engines' variables are read too, so that a bad one never goes unnoticed.
    engines = {name: _engine(sources, name) for name in EngineName}
    driver_root = read(payload.DRIVER_ROOT).value
    driver_root_in_container = read(payload.DRIVER_ROOT_IN_CONTAINER).value
    return Settings(
        runtime=runtime,
        engines=engines,
        crio=CrioSettings(
            hooks_dir=read(rows.HOOKS_DIR).value,
            hook_filename=read(rows.HOOK_FILENAME).value,
            mode=read(rows.CONFIG_MODE).value,
        ),
        install_dir=read(general.INSTALL_DIR).value,
        host_root=read(general.HOST_ROOT).value or default_host_root(),
        payload=PayloadSettings(
            source_root=read(general.SOURCE_ROOT).value,
            package_type=read(general.PACKAGE_TYPE).value,
            ignore_errors=read(general.IGNORE_ERRORS).value,
            require_driver=read(payload.REQUIRE_DRIVER).value,
        ),
        driver=DriverSettings(
            root=driver_root,
            root_in_container=driver_root_in_container,
            dev_root=read(payload.DEV_ROOT).value or driver_root,
            dev_root_in_container=(
                read(payload.DEV_ROOT_IN_CONTAINER).value or driver_root_in_container
            ),
        ),
        runtime_config=_runtime_config(sources),
        cdi=_cdi(sources),
        nri=_nri(sources),
        lifecycle=_lifecycle(sources),
        debug=read(general.DEBUG).value,
        log_format=read(general.LOG_FORMAT).value,
        color=read(general.COLOR).value,
        warnings=_warnings(sources, runtime),
    )


def _engine(sources: Sources, name: EngineName) -> EngineSettings:
    usual = plain_row(name)
    drop_in = sources.read(rows.DROP_IN)
    enable_cdi = sources.read(rows.ENABLE_CDI).value
    handler_name = sources.read(rows.HANDLER_NAME, name).value
    cdi_only = sources.read(payload.CDI_ONLY).value
    return EngineSettings(
        config=_given(sources.read(rows.CONFIG, name), usual.top_level),
        drop_in=None if usual.drop_in is None else _given(drop_in, usual.drop_in),
        drop_in_host_path=sources.read(rows.DROP_IN_HOST_PATH).value,
        executable_path=sources.read(rows.EXECUTABLE_PATH).value,
        socket=_given(sources.read(rows.SOCKET, name), usual.sockets[0]),
        restart_mode=sources.read(rows.RESTART_MODE, name).value,
        config_sources=sources.read(rows.CONFIG_SOURCES).value,
        enable_cdi=_cdi_wanted(sources) if enable_cdi is None else enable_cdi,
        handler_name=rows.HANDLER_NAME.value.default
        if handler_name in HANDLERS_BESIDE
        else handler_name,
        set_as_default=sources.read(rows.SET_AS_DEFAULT, name).value and not cdi_only,
        use_legacy_config=sources.read(rows.USE_LEGACY_CONFIG).value,
        runtime_type=sources.read(rows.RUNTIME_TYPE).value,
        config_override=sources.read(rows.CONFIG_OVERRIDE).value,
        annotation_prefixes=sources.read(payload.ANNOTATION_PREFIXES).value,
        cdi_only=cdi_only,
    )


def _given(reading: Reading[str], default: str) -> GivenPath:
    return GivenPath(path=reading.value or default, source=reading.source)


def _runtime_config(sources: Sources) -> RuntimeConfigSettings:
    read = sources.read
    return RuntimeConfigSettings(
        debug=read(payload.RUNTIME_DEBUG).value,
        log_level=read(payload.RUNTIME_LOG_LEVEL).value,
        mode=read(payload.RUNTIME_MODE).value,
        default_kind=read(payload.DEFAULT_KIND).value,
        runtimes=read(payload.RUNTIMES).value,
        annotation_prefixes=read(payload.ANNOTATION_PREFIXES).value,
        skip_mode_detection=read(payload.SKIP_MODE_DETECTION).value,
        cli_debug=read(payload.CLI_DEBUG).value,
        accept_envvar_when_unprivileged=read(payload.ACCEPT_ENVVAR).value,
        accept_volume_mounts=read(payload.ACCEPT_VOLUME_MOUNTS).value,
        opt_in_features=read(payload.OPT_IN_FEATURES).value,
    )


def _cdi_wanted(sources: Sources) -> bool:
    return sources.read(payload.CDI_ENABLED).value or sources.read(payload.CDI_ONLY).value


def _nri_mode(sources: Sources) -> bool:
    return sources.read(payload.NRI_ENABLED).value and not sources.read(general.NO_DAEMON).value


def _cdi(sources: Sources) -> CdiSettings:
    create_device_nodes = sources.read(payload.CREATE_DEVICE_NODES).value
    enabled = _cdi_wanted(sources) or _nri_mode(sources)
    return CdiSettings(
        enabled=enabled,
        output_dir=sources.read(payload.CDI_OUTPUT_DIR).value,
        kind=sources.read(payload.CDI_KIND).value,
        create_device_nodes=enabled and create_device_nodes,
        dev_char_links=sources.read(payload.DEV_CHAR_SYMLINKS).value,
    )


def _nri(sources: Sources) -> NriSettings:
    enabled = _nri_mode(sources)
    namespace = sources.read(payload.NRI_NAMESPACE).value
    if enabled and namespace is None:
        raise UsageError(
            f"{sources.read(payload.NRI_ENABLED).source}: NRI mode needs the namespace that it"
            " runs in",
            "give --nri-namespace or NRI_NAMESPACE",
        )
    return NriSettings(
        enabled=enabled,
        index=sources.read(payload.NRI_INDEX).value,
        socket=sources.read(payload.NRI_SOCKET).value,
        namespace=namespace or "",
        management_namespaces=sources.read(payload.NRI_MANAGEMENT_NAMESPACES).value,
    )


def _lifecycle(sources: Sources) -> LifecycleSettings:
    read = sources.read
    pid_file = read(general.PID_FILE).value
    beside = posixpath.join(posixpath.dirname(pid_file), "toolkit-ready")
    health, ready = read(general.HEALTH_ADDRESS), read(general.READY_FILE)
    if ready.value == pid_file:
        raise UsageError(
            f"{ready.source}: {pid_file} is the pid file, which is the lock", "name another file"
        )
    return LifecycleSettings(
        no_daemon=read(general.NO_DAEMON).value,
        no_runtime_config=read(general.NO_RUNTIME_CONFIG).value,
        on_exit=read(general.ON_EXIT).value,
        on_exit_unknown=read(general.ON_EXIT_UNKNOWN).value,
        stop_timeout=read(general.STOP_TIMEOUT).value,
        verify=read(general.VERIFY).value,
        verify_timeout=read(general.VERIFY_TIMEOUT).value,
        reconcile_interval=read(general.RECONCILE_INTERVAL).value,
        health_address=health.value,
        health_source=health.source,
        pid_file=pid_file,
        ready_file=ready.value or beside,
        feature_file=read(general.FEATURE_FILE).value,
    )


def _warnings(sources: Sources, runtime: EngineName | None) -> tuple[str, ...]:
    """Describe each value that is not used as given, naming its flag or variable."""
    found = [*misspelt.warnings(sources.environ)]
    handler = sources.read(rows.HANDLER_NAME, runtime)
    if handler.value in HANDLERS_BESIDE:
        found.append(
            f"{handler.source}: {handler.value} is added anyway and can't be chosen;"
            f" the handler is named {rows.HANDLER_NAME.value.default}"
        )
    output_dir = sources.read(payload.CDI_OUTPUT_DIR)
    if _cdi_wanted(sources) and not output_dir.value:
        found.append(f"{output_dir.source}: it is empty, so no CDI spec is written")
    nri = sources.read(payload.NRI_ENABLED)
    if nri.value and not _nri_mode(sources):
        found.append(f"{nri.source}: NRI mode is ignored with --no-daemon")
    if runtime is not None and plain_row(runtime).drop_in is None:
        for option in (rows.DROP_IN, rows.DROP_IN_HOST_PATH):
            source = sources.read(option).source
            if source != "default":
                found.append(f"{source}: ignored, since {runtime} has no drop-in configs")
    return tuple(found)
