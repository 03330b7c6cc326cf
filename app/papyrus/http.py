"""What every request and answer has: an id, identity headers, a log line; errors as JSON."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from typing import Any

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, InternalServerError

from .identity import Identity

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=+/-]{1,128}")
_log = logging.getLogger("papyrus.request")


def json_response(value: Any, status: int = 200) -> Response:
    """Compact JSON, byte for byte the same everywhere."""
    return Response(json.dumps(value, separators=(",", ":")), status, content_type="application/json")


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _begin() -> None:
    g.started = time.monotonic()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _end(response: Response) -> Response:
    identity: Identity = current_app.extensions["papyrus_identity"]
    task = identity.get()
    response.headers["X-Request-Id"] = g.request_id
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if task.arn:
        response.headers["X-Papyrus-Task"] = task.arn
    if task.image_digest:
        response.headers["X-Papyrus-Image"] = task.image_digest
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "duration_ms": round((time.monotonic() - g.started) * 1000, 1),
        "remote": request.remote_addr,
        "user_agent": request.user_agent.string[:200],
    }
    if task.arn:
        fields["task_arn"] = task.arn
    _log.info("request", extra=fields)
    return response


def _http_error(exc: HTTPException) -> Response:
    code = exc.code or 500
    if code < 400:  # a redirect of the router is no error
        return Response(status=code, headers=exc.get_response().headers)
    response = json_response({"error": exc.name, "status": code, "request_id": g.get("request_id")}, code)
    for name, value in exc.get_headers():
        if name.lower() not in {"content-type", "content-length"}:  # Allow of a 405, Retry-After, Location
            response.headers[name] = value
    return response


def _unexpected(exc: Exception) -> Response:
    _log.error("unexpected error", exc_info=exc, extra={"path": request.path, "method": request.method})
    return _http_error(InternalServerError())
