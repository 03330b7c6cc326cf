"""GET /healthz: the process answers. The database is left out on purpose: its failure must not kill the tasks."""

from __future__ import annotations

from flask import Blueprint, Response

from ..http import json_response

blueprint = Blueprint("healthz", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    return json_response({"ok": True})
