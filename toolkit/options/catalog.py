"""The whole table, in the order of help and documentation."""

from __future__ import annotations

from toolkit.options import engine, general, payload
from toolkit.options.option import Option

GROUPS = (
    general.COMMAND,
    general.GENERAL,
    general.LIFE_CYCLE,
    engine.ENGINE,
    engine.HANDLERS,
    payload.DRIVER,
    payload.CONFIG_TOML,
    payload.CDI,
    payload.NRI,
)
OPTIONS: tuple[Option[object], ...] = tuple(option for group in GROUPS for option in group.options)
