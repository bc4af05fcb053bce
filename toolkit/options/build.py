"""Build the frozen Settings: every option is read and checked here, once."""

from __future__ import annotations

import posixpath

from runtime_configs.distros.table import plain_row
from runtime_configs.model import EngineName
from toolkit.errors import UsageError
from toolkit.host.given_mounts import default_host_root
from toolkit.options import engine as rows
from toolkit.options import general, misspelt, payload
from toolkit.options.lookup import DEFAULT, Sources
from toolkit.options.option import Option
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
    value = sources.value
    runtime = value(general.RUNTIME)
    # The other engines' variables are read too, so that a bad one never goes unnoticed.
    engines = {name: _engine(sources, name) for name in EngineName}
    driver_root = value(payload.DRIVER_ROOT)
    driver_root_in_container = value(payload.DRIVER_ROOT_IN_CONTAINER)
    return Settings(
        runtime=runtime,
        engines=engines,
        crio=CrioSettings(
            hooks_dir=value(rows.HOOKS_DIR),
            hook_filename=value(rows.HOOK_FILENAME),
            mode=value(rows.CONFIG_MODE),
        ),
        install_dir=value(general.INSTALL_DIR),
        host_root=value(general.HOST_ROOT) or default_host_root(),
        payload=PayloadSettings(
            source_root=value(general.SOURCE_ROOT),
            package_type=value(general.PACKAGE_TYPE),
            ignore_errors=value(general.IGNORE_ERRORS),
            require_driver=value(payload.REQUIRE_DRIVER),
        ),
        driver=DriverSettings(
            root=driver_root,
            root_in_container=driver_root_in_container,
            dev_root=value(payload.DEV_ROOT) or driver_root,
            dev_root_in_container=(
                value(payload.DEV_ROOT_IN_CONTAINER) or driver_root_in_container
            ),
        ),
        runtime_config=_runtime_config(sources),
        cdi=_cdi(sources),
        nri=_nri(sources),
        lifecycle=_lifecycle(sources),
        debug=value(general.DEBUG),
        log_format=value(general.LOG_FORMAT),
        color=value(general.COLOR),
        warnings=_warnings(sources, runtime),
    )


def _engine(sources: Sources, name: EngineName) -> EngineSettings:
    usual = plain_row(name)
    enable_cdi = sources.value(rows.ENABLE_CDI)
    handler_name = sources.value(rows.HANDLER_NAME, name)
    cdi_only = sources.value(payload.CDI_ONLY)

    def path(option: Option[str], default: str) -> GivenPath:
        return GivenPath(
            path=sources.value(option, name) or default, source=sources.source(option, name)
        )

    return EngineSettings(
        config=path(rows.CONFIG, usual.top_level),
        drop_in=None if usual.drop_in is None else path(rows.DROP_IN, usual.drop_in),
        drop_in_host_path=sources.value(rows.DROP_IN_HOST_PATH),
        executable_path=sources.value(rows.EXECUTABLE_PATH),
        socket=path(rows.SOCKET, usual.sockets[0]),
        restart_mode=sources.value(rows.RESTART_MODE, name),
        config_sources=sources.value(rows.CONFIG_SOURCES),
        enable_cdi=_cdi_wanted(sources) if enable_cdi is None else enable_cdi,
        handler_name=rows.HANDLER_NAME.value.default
        if handler_name in HANDLERS_BESIDE
        else handler_name,
        set_as_default=sources.value(rows.SET_AS_DEFAULT, name) and not cdi_only,
        use_legacy_config=sources.value(rows.USE_LEGACY_CONFIG),
        runtime_type=sources.value(rows.RUNTIME_TYPE),
        config_override=sources.value(rows.CONFIG_OVERRIDE),
        annotation_prefixes=sources.value(payload.ANNOTATION_PREFIXES),
        cdi_only=cdi_only,
    )


def _runtime_config(sources: Sources) -> RuntimeConfigSettings:
    value = sources.value
    return RuntimeConfigSettings(
        debug=value(payload.RUNTIME_DEBUG),
        log_level=value(payload.RUNTIME_LOG_LEVEL),
        mode=value(payload.RUNTIME_MODE),
        default_kind=value(payload.DEFAULT_KIND),
        runtimes=value(payload.RUNTIMES),
        annotation_prefixes=value(payload.ANNOTATION_PREFIXES),
        skip_mode_detection=value(payload.SKIP_MODE_DETECTION),
        cli_debug=value(payload.CLI_DEBUG),
        accept_envvar_when_unprivileged=value(payload.ACCEPT_ENVVAR),
        accept_volume_mounts=value(payload.ACCEPT_VOLUME_MOUNTS),
        opt_in_features=value(payload.OPT_IN_FEATURES),
    )


def _cdi_wanted(sources: Sources) -> bool:
    return sources.value(payload.CDI_ENABLED) or sources.value(payload.CDI_ONLY)


def _nri_mode(sources: Sources) -> bool:
    return sources.value(payload.NRI_ENABLED) and not sources.value(general.NO_DAEMON)


def _cdi(sources: Sources) -> CdiSettings:
    create_device_nodes = sources.value(payload.CREATE_DEVICE_NODES)
    enabled = _cdi_wanted(sources) or _nri_mode(sources)
    return CdiSettings(
        enabled=enabled,
        output_dir=sources.value(payload.CDI_OUTPUT_DIR),
        kind=sources.value(payload.CDI_KIND),
        create_device_nodes=enabled and create_device_nodes,
        dev_char_links=sources.value(payload.DEV_CHAR_SYMLINKS),
    )


def _nri(sources: Sources) -> NriSettings:
    enabled = _nri_mode(sources)
    namespace = sources.value(payload.NRI_NAMESPACE)
    if enabled and namespace is None:
        raise UsageError(
            f"{sources.source(payload.NRI_ENABLED)}: NRI mode needs the namespace that it runs in",
            "give --nri-namespace or NRI_NAMESPACE",
        )
    return NriSettings(
        enabled=enabled,
        index=sources.value(payload.NRI_INDEX),
        socket=sources.value(payload.NRI_SOCKET),
        namespace=namespace or "",
        management_namespaces=sources.value(payload.NRI_MANAGEMENT_NAMESPACES),
    )


def _lifecycle(sources: Sources) -> LifecycleSettings:
    value = sources.value
    pid_file = value(general.PID_FILE)
    beside = posixpath.join(posixpath.dirname(pid_file), "toolkit-ready")
    ready_file = value(general.READY_FILE) or beside
    if ready_file == pid_file:
        source = sources.source(general.READY_FILE)
        raise UsageError(
            f"{source}: {pid_file} is the pid file, which is the lock", "name another file"
        )
    return LifecycleSettings(
        no_daemon=value(general.NO_DAEMON),
        no_runtime_config=value(general.NO_RUNTIME_CONFIG),
        on_exit=value(general.ON_EXIT),
        on_exit_unknown=value(general.ON_EXIT_UNKNOWN),
        stop_timeout=value(general.STOP_TIMEOUT),
        verify=value(general.VERIFY),
        verify_timeout=value(general.VERIFY_TIMEOUT),
        reconcile_interval=value(general.RECONCILE_INTERVAL),
        health_address=value(general.HEALTH_ADDRESS),
        health_source=sources.source(general.HEALTH_ADDRESS),
        pid_file=pid_file,
        ready_file=ready_file,
        feature_file=value(general.FEATURE_FILE),
    )


def _warnings(sources: Sources, runtime: EngineName | None) -> tuple[str, ...]:
    """Describe each value that is not used as given, naming its flag or variable."""
    found = list(misspelt.warnings(sources.environ))
    handler_name = sources.value(rows.HANDLER_NAME, runtime)
    if handler_name in HANDLERS_BESIDE:
        found.append(
            f"{sources.source(rows.HANDLER_NAME, runtime)}: {handler_name} is added anyway and"
            f" can't be chosen; the handler is named {rows.HANDLER_NAME.value.default}"
        )
    if _cdi_wanted(sources) and not sources.value(payload.CDI_OUTPUT_DIR):
        found.append(
            f"{sources.source(payload.CDI_OUTPUT_DIR)}: it is empty, so no CDI spec is written"
        )
    if sources.value(payload.NRI_ENABLED) and not _nri_mode(sources):
        found.append(f"{sources.source(payload.NRI_ENABLED)}: NRI mode is ignored with --no-daemon")
    if runtime is not None and plain_row(runtime).drop_in is None:
        for option in (rows.DROP_IN, rows.DROP_IN_HOST_PATH):
            source = sources.source(option)
            if source != DEFAULT:
                found.append(f"{source}: ignored, since {runtime} has no drop-in configs")
    return tuple(found)
