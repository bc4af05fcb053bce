"""Derive from the settings the handlers and the adapter's request."""

from __future__ import annotations

import posixpath

from runtime_configs.adapter import ConfigRequest
from runtime_configs.model import DesiredHandlers, EngineName, RuntimeHandler
from toolkit.engine.facts import HostFacts
from toolkit.payload.source import HOOK, RUNTIMES
from toolkit.settings import CrioMode, EngineSettings, Settings


def desired_handlers(engine: EngineName, chosen: EngineSettings, directory: str) -> DesiredHandlers:
    """Return what the engine should serve, with wrappers in ``directory`` on the host."""
    annotations = chosen.annotation_prefixes if engine is EngineName.CONTAINERD else ()
    return DesiredHandlers(
        handlers=()
        if chosen.cdi_only
        else tuple(
            RuntimeHandler(name=name, binary_path=posixpath.join(directory, binary))
            for name, binary in zip(chosen.handler_names, RUNTIMES, strict=True)
        ),
        default=chosen.handler_name if chosen.set_as_default else None,
        runtime_type=chosen.runtime_type,
        enable_cdi=chosen.enable_cdi or None,
        container_annotations=tuple(f"{prefix}*" for prefix in annotations),
        override=chosen.config_override,
    )


def config_request(
    settings: Settings, facts: HostFacts, directory: str, previous_default: str | None = None
) -> ConfigRequest:
    """Return the adapter's request; ``previous_default`` is the default handler before us."""
    chosen = settings.engines[facts.engine]
    hook = facts.engine is EngineName.CRIO and settings.crio.mode is CrioMode.HOOK
    process = facts.process
    return ConfigRequest(
        desired=desired_handlers(facts.engine, chosen, directory),
        top_level=facts.top_level,
        drop_in=facts.drop_in,
        drop_in_declared=chosen.drop_in is not None and chosen.drop_in.declared,
        version=facts.version,
        effective=facts.effective,
        previous_default=previous_default,
        placement=facts.placement,
        template=facts.template,
        use_legacy_config=chosen.use_legacy_config,
        toolkit_dir=directory,
        crio_hook_path=(
            posixpath.join(settings.crio.hooks_dir, settings.crio.hook_filename) if hook else None
        ),
        hook_binary=posixpath.join(directory, HOOK) if hook else None,
        engine_arguments=() if process is None else process.arguments,
    )
