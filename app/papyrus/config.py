"""Settings from the environment. Reading them never fails: what is wrong with them shows when they are used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

DB_KEYS = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")
PATIENCE = {"PAPYRUS_DB_CONNECT_TIMEOUT": "10", "PAPYRUS_DB_STATEMENT_TIMEOUT": "10", "PAPYRUS_DB_BUDGET": "20"}
METADATA_PATIENCE = 10.0


def _seconds(values: Mapping[str, Any], name: str, default: float) -> float:
    """A positive number of seconds, or the default when the setting is absent or no number."""
    try:
        seconds = float(values[name])
    except (KeyError, TypeError, ValueError):
        return default
    return seconds if 0 < seconds < 3600 else default


@dataclass(frozen=True)
class Settings:
    """Times are seconds. `database_budget` is the longest that a request waits for the database, all included.

    PGSSLMODE, PGSSLROOTCERT and the like are libpq's own and are read by libpq:
    https://www.postgresql.org/docs/current/libpq-envars.html
    """

    db_host: str = ""
    db_port: str = "5432"
    db_name: str = ""
    db_user: str = ""
    db_password: str = field(default="", repr=False)
    connect_timeout: float = 2.0
    statement_timeout: float = 1.5
    lock_timeout: float = 1.0
    database_budget: float = 4.0
    metadata_uri: str = ""
    metadata_timeout: float = 0.5

    @classmethod
    def from_environment(cls, overrides: Mapping[str, Any] | None = None) -> Settings:
        return cls.from_mapping({**os.environ, **(overrides or {})})

    @classmethod
    def of_a_command(cls) -> Settings:
        """Nobody's request waits behind it: it can give a busy database or agent more time than a health check may."""
        return replace(cls.from_mapping({**PATIENCE, **os.environ}), metadata_timeout=METADATA_PATIENCE)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Settings:
        return cls(
            db_host=str(values.get("DB_HOST", "")),
            db_port=str(values.get("DB_PORT", "") or "5432"),
            db_name=str(values.get("DB_NAME", "")),
            db_user=str(values.get("DB_USER", "")),
            db_password=str(values.get("DB_PASSWORD", "")),
            connect_timeout=_seconds(values, "PAPYRUS_DB_CONNECT_TIMEOUT", cls.connect_timeout),
            statement_timeout=_seconds(values, "PAPYRUS_DB_STATEMENT_TIMEOUT", cls.statement_timeout),
            lock_timeout=_seconds(values, "PAPYRUS_DB_LOCK_TIMEOUT", cls.lock_timeout),
            database_budget=_seconds(values, "PAPYRUS_DB_BUDGET", cls.database_budget),
            metadata_uri=str(values.get("ECS_CONTAINER_METADATA_URI_V4", "")),
        )

    def missing(self) -> tuple[str, ...]:
        """Names of the database settings without which a connection is not even tried."""
        given = (self.db_host, self.db_port, self.db_name, self.db_user, self.db_password)
        return tuple(name for name, value in zip(DB_KEYS, given, strict=True) if not value)
