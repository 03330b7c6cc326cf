"""GET /dbcheck: a committed write proves the way to the database; with ?run=<run id> it is the proof of that run."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, current_app, request

from ..db import Database
from ..errors import DatabaseUnavailable
from ..http import json_response
from ..identity import Identity
from ..runs import is_run_id

blueprint = Blueprint("dbcheck", __name__)
_log = logging.getLogger("papyrus.dbcheck")


@blueprint.get("/dbcheck")
def dbcheck() -> Response:
    runs = request.args.getlist("run")
    if len(runs) > 1 or not all(is_run_id(run) for run in runs):
        return json_response({"inserted": False, "reason": "invalid_run"}, 400)
    run = runs[0] if runs else None
    database: Database = current_app.extensions["papyrus_database"]
    identity: Identity = current_app.extensions["papyrus_identity"]
    task = identity.get()
    try:
        mark = database.mark("SKU-APP", "app", run, task.arn, task.image_digest)
    except DatabaseUnavailable as exc:
        _log.error(
            "database not usable",
            extra={"reason": exc.reason.value, "detail": exc.detail, "sqlstate": exc.sqlstate, "run": run},
        )
        response = json_response({"inserted": False, "rows": 0, "run": run, "reason": exc.reason.value}, 503)
        response.headers["Retry-After"] = "5"
        return response
    _log.info("marked", extra={"rows": mark.rows, "inserted": mark.inserted, "run": run, "tls": mark.tls or "none"})
    response = json_response({"inserted": mark.inserted, "rows": mark.rows, "run": run})
    response.headers["X-Papyrus-Db-Tls"] = mark.tls or "none"
    return response
