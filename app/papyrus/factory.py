"""The application factory. Nothing here talks to the network; the database is first met by /dbcheck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from . import http, identity, logging
from .blueprints import dbcheck, healthz, index
from .config import Settings
from .db import Database


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The WSGI application. `config` overrides the environment, by the names of `Settings.from_mapping`.

    Works with dummy settings and without a database, so that routes can be listed anywhere.
    """
    logging.configure()
    settings = Settings.from_environment(config)
    app = Flask("papyrus", static_folder=None)
    app.config.from_mapping(config or {})
    app.extensions["papyrus_settings"] = settings
    app.extensions["papyrus_database"] = Database(settings)
    app.extensions["papyrus_identity"] = identity.Identity(settings.metadata_uri, settings.metadata_timeout)
    http.init_app(app)
    for blueprint in (index.blueprint, healthz.blueprint, dbcheck.blueprint):
        app.register_blueprint(blueprint)
    return app
