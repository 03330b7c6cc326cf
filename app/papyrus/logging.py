"""One JSON object a line on stdout, for the application, gunicorn and warnings alike."""

from __future__ import annotations

import datetime as dt
import logging
import logging.config
from typing import Any

from flask import g, has_request_context
from pythonjsonlogger.json import JsonFormatter as _JsonFormatter


class JsonFormatter(_JsonFormatter):
    """`time` (RFC 3339, UTC), `level`, `logger`, `message`, `request_id`, `exception` and what `extra=` carries."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        log_data["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["pid"] = record.process
        if has_request_context() and "request_id" in g:
            log_data["request_id"] = g.request_id
        super().add_fields(log_data, record, message_dict)


def dict_config() -> dict[str, Any]:
    """For logging.config.dictConfig and for gunicorn's logconfig_dict."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "papyrus.logging.JsonFormatter",
                "fmt": "%(message)s",
                "rename_fields": {"exc_info": "exception"},
            }
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"level": "INFO", "handlers": ["stdout"]},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
            # Requests are logged by the application, with their id and duration; not twice.
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
            "psycopg": {"level": "WARNING"},
        },
    }


def configure() -> None:
    """Idempotent. Under gunicorn its own configuration, the same one, is in place already."""
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        logging.config.dictConfig(dict_config())
    logging.captureWarnings(True)
