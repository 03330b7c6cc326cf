"""Papyrus. `papyrus:create_app` is the WSGI application's factory.

The factory is imported when it is called: the container's health check runs `python -m papyrus.healthcheck` every few
seconds, and must not pay for Flask and psycopg each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["create_app"]


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The WSGI application; see `papyrus.factory.create_app`."""
    from .factory import create_app as create

    return create(config)
