"""What on the node still needs the toolkit's files, once the engine's config is without us."""

from __future__ import annotations

from runtime_configs.model import EffectiveConfig
from toolkit.engine.control import EngineControl
from toolkit.engine.facts import Holding, HoldReport
from toolkit.engine.wait import LOOK_SECONDS
from toolkit.errors import ToolkitError
from toolkit.host.clock import UninterruptedClock
from toolkit.journal.record import Record
from toolkit.node import Node, choose_engine
from toolkit.payload.records import PayloadRecord
from toolkit.undo.k3s_autodetect import goes_with_payload, needed_by_option


def held(
    node: Node, record: Record, control: EngineControl | None, *, restarts: bool
) -> HoldReport:
    """Find out whether a container, or the engine's config without us, needs the payload.

    ``restarts``: the engine is reloaded before or after this, if that is needed.
    """
    if node.installer.restores_foreign():
        # From this moment on the paths lead to another installer's binaries.
        return HoldReport(holding=Holding.FREE)
    if control is None and node.settings.nri.enabled:
        return _without_asking(record)
    try:
        # No engine was touched, but an administrator may have configured one to use the files.
        control = control or node.control(choose_engine(node, record).name)
        facts = control.facts(UninterruptedClock().now() + LOOK_SECONDS)
        if facts.effective is None:
            reason = facts.unreachable or "; ".join(facts.unread)
            return HoldReport(holding=Holding.CANNOT_TELL, reason=reason)
        directory = node.toolkit_dir
        # An engine that was not reloaded may still serve the payload, though its files do not name
        # it.
        known = [each for each in (facts.effective, facts.served.config) if each is not None]
        named = _named(known, directory, record, restarts=restarts)
        distribution = needed_by_option(record, directory, node.view)
        if distribution is not None:
            named = (*named, f"(the option default-runtime of {distribution})")
        if named:
            return HoldReport(holding=Holding.HELD, containers=named)
        return control.held(directory)
    except ToolkitError as error:
        return HoldReport(holding=Holding.CANNOT_TELL, reason=error.message)


def _named(
    known: list[EffectiveConfig], directory: str, record: Record, *, restarts: bool
) -> tuple[str, ...]:
    """Return the engine's own handlers that have a binary of ours.

    If an administrator configured the engine, only its default handler counts: without it no pod
    starts on the node, while another handler affects only the pods that name it. A handler that a
    distribution finds by itself goes away with the binary.
    """
    defaults_alone = record.engine is None
    found = dict.fromkeys(
        f'(the engine\'s own handler "{name}")'
        for config in known
        for name, handler in config.handlers.items()
        if (handler.binary_path or "").startswith(f"{directory}/")
        and (name == config.default or not defaults_alone)
        and not goes_with_payload(
            record, name, handler.binary_path or "", config.default, restarts=restarts
        )
    )
    return tuple(found)


def _without_asking(record: Record) -> HoldReport:
    """In NRI mode no engine is asked: a payload that replaced another may be in use."""
    payload = PayloadRecord.from_json(record.payload or {})
    if payload.previous is None:
        return HoldReport(holding=Holding.FREE)
    reason = "in NRI mode it is not asked, and an earlier install may be in use"
    return HoldReport(holding=Holding.CANNOT_TELL, reason=reason)
