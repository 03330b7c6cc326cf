"""GET /: a greeting for humans."""

from __future__ import annotations

from flask import Blueprint, Response

blueprint = Blueprint("index", __name__)


@blueprint.get("/")
def index() -> Response:
    return Response("Welcome to Papyrus", content_type="text/plain; charset=utf-8")
