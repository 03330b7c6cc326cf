"""The ASGI application that every request passes: control API, load balancers, registry, and the AWS APIs."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from sandbox import aws_errors, fault_wire, http, iam, operations, requests, rules, shapes
from sandbox.answers import answer_response
from sandbox.audit import Outcome
from sandbox.audit.records import changes_have_their_answers
from sandbox.faults import Fault, FaultError
from sandbox.recording import Call
from sandbox.requests import ApiRequest
from sandbox.responses import RawResponse, error_code, error_response
from sandbox.switches import SwitchError

if TYPE_CHECKING:
    from sandbox.registry import Registry
    from sandbox.runtime import Receive, Runtime, Scope, Send

CONTROL = "/_sandbox/"
# The emulator's own side doors: reset, configuration, CORS for everybody. Nobody outside this process needs them.
EMULATOR_DOORS = ("/_ministack", "/_localstack", "/_aws", "/_alb", "/health")
# Task metadata and credentials: for tasks, unsigned, of no interest to the record of calls.
TASK_PATHS = re.compile(r"^/(v4/|v2/credentials/)")
# S3 objects are the largest bodies; image layers do not come this way.
LARGEST_BODY = 512 * 1024 * 1024
# What may be imported at once as CloudTrail's history: some 60,000 records.
LARGEST_HISTORY = 64 * 1024 * 1024
# Of an answer this much is kept for the record.
LONGEST_ANSWER = 512 * 1024
# Services of the JSON protocol whose clients want the codes of the Query protocol, in a header.
QUERY_COMPATIBLE = {"sqs"}
REQUEST_ID = re.compile(rb"<[Rr]equestI[dD]>([^<]+)</")

log = logging.getLogger("sandbox.faults")
Asgi = Callable[["Scope", "Receive", "Send"], Any]


class FrontDoor:
    """Wraps the emulator's application."""

    def __init__(self, runtime: Runtime, emulator: Asgi, registry: Registry) -> None:
        self._runtime = runtime
        self._emulator = emulator
        self._registry = registry
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._runtime.websockets.serve(scope, receive, send)
        else:
            try:
                await self._http(scope, receive, send)
            except http.Disconnected:
                return

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The emulator restores its state at startup and saves it at shutdown; ours goes around that."""

        async def started(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._runtime.loop = asyncio.get_running_loop()
                for callback in self._runtime.at_start:
                    callback()
                self.ready = True
            await send(message)

        async def told() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.ready = False
                for callback in reversed(self._runtime.at_stop):
                    callback()
            return message

        await self._emulator(scope, told, started)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        _to_origin_form(scope)
        headers = http.headers_of(scope)
        path: str = scope["path"]
        if path.startswith(CONTROL):
            await self._control(scope, headers, receive, send)
            return
        host = http.host_of(headers)
        for plane in self._runtime.data_planes:
            if plane.serves(host):
                await plane.handle(scope, receive, send)
                return
        if "origin" in headers:
            # A page in somebody's browser: it has no business here, and credentials of ours would not stop it.
            await http.respond_json(send, 403, {"message": "requests with an Origin header are refused"})
        elif path.startswith(EMULATOR_DOORS):
            await http.respond_json(send, 404, {"message": f"{path} is not part of AWS"})
        elif self._registry.serves(path):
            await self._registry.handle(scope, receive, send)
        elif TASK_PATHS.match(path):
            await self._emulator(scope, receive, Answer(send))
        else:
            await self._api(scope, headers, receive, send)

    async def _api(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        try:
            body = await http.body_of(receive, LARGEST_BODY)
        except http.BodyTooLarge:
            await http.respond_json(send, 413, {"message": f"bodies over {LARGEST_BODY} bytes are not taken"})
            return
        raw_path = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1") or scope["path"]
        wire = iam.Wire(scope["method"], raw_path, scope["query_string"].decode("latin-1"), headers, body)
        request = requests.parse(wire.method, wire.path, wire.query, headers, body)
        if request is None and iam.refuses_the_unknown(self._runtime):
            await _send(Answer(send), error_response("rest-xml", 403, "AccessDenied", "Access Denied"))
            return
        if request is None:
            await self._emulator(scope, http.replay(body, receive), Answer(send))
            return
        agent, key = headers.get("user-agent", ""), request.access_key_id or ""
        fault = self._runtime.faults.take(request.service, request.operation, request.parameters, agent, key)
        if fault is None:
            await self._carried_out(request, wire, scope, receive, self._answer(request, scope, headers, send, None))
            return
        log.info("%s %s: %s", request.service, request.operation, fault.called)
        await asyncio.sleep(fault.delay_seconds)
        instead = _instead(request, fault)
        if fault.happens_all_the_same:
            answer = self._answer(request, scope, headers, fault_wire.Disturbed(send, fault, instead), fault)
            await self._carried_out(request, wire, scope, receive, answer)
        elif instead is not None:
            answer = self._answer(request, scope, headers, fault_wire.Disturbed(send, fault, None), fault)
            await _send(answer, instead)
        else:
            self._note(request, headers, fault, status=0, request_id="", error=None)
            await fault_wire.end(send, fault.reset)

    def _answer(
        self, request: ApiRequest, scope: Scope, headers: dict[str, str], send: Send, fault: Fault | None
    ) -> ApiAnswer:
        return ApiAnswer(send, request, functools.partial(self._record, request, scope, headers, fault))

    async def _carried_out(
        self, request: ApiRequest, wire: iam.Wire, scope: Scope, receive: Receive, answer: ApiAnswer
    ) -> None:
        if (response := self._own_response(request, wire)) is not None:
            await _send(answer, response)
        else:
            await self._emulator(scope, http.replay(wire.body, receive), answer)

    def _own_response(self, request: ApiRequest, wire: iam.Wire) -> RawResponse | None:
        """What the sandbox answers itself, in the order in which AWS looks; None leaves it to the emulator."""
        runtime = self._runtime
        found = (
            iam.refusal(runtime, request, wire)
            or shapes.refusal(request)
            or rules.refusal(runtime, request)
            or operations.answer(runtime, request)
        )
        if isinstance(found, rules.Refusal):
            return _refused(request, found.status, found.code, found.message)
        return None if found is None else answer_response(request, found)

    def _note(
        self,
        request: ApiRequest,
        headers: dict[str, str],
        fault: Fault | None,
        *,
        status: int,
        request_id: str,
        error: str | None,
    ) -> Call:
        """In the record of calls. A status of 0: AWS was never asked."""
        return self._runtime.recording.add(
            service=request.service,
            operation=request.operation,
            parameters=request.parameters,
            status=status,
            error_code=error,
            access_key_id=request.access_key_id,
            user_agent=headers.get("user-agent", ""),
            request_id=request_id,
            cut=fault is not None and (fault.keeps_the_answer or status == 0),
            fault=fault.called if fault is not None else None,
        )

    def _record(
        self, request: ApiRequest, scope: Scope, headers: dict[str, str], fault: Fault | None, answer: ApiAnswer
    ) -> None:
        runtime, body = self._runtime, bytes(answer.body)
        code = error_code(answer.headers, body) if answer.status >= 400 else None
        call = self._note(request, headers, fault, status=answer.status, request_id=answer.request_id, error=code)
        agent = headers.get("user-agent", "")
        address = str((scope.get("client") or ("127.0.0.1",))[0])
        outcome = Outcome(answer.status, code, answer.headers, body, answer.request_id, time.time())
        runtime.audit.record(runtime, request, outcome, address, agent)
        if not call.read_only and answer.status < 400:
            runtime.changed()
            runtime.audit.configurations.changed(runtime, request)

    async def _control(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        if "origin" in headers:
            await http.respond_json(send, 403, {"message": "requests with an Origin header are refused"})
            return
        what, method = scope["path"].removeprefix(CONTROL), scope["method"]
        faults = self._runtime.faults
        if what == "ready" and method == "GET":
            await http.respond_json(send, 200 if self.ready else 503, {"ready": self.ready, "pid": os.getpid()})
        elif what == "calls" and method == "GET":
            after = dict(parse_qsl(scope["query_string"].decode())).get("after", "0")
            if not after.lstrip("-").isdigit():
                await http.respond_json(send, 400, {"message": "`after` is the number of a call"})
                return
            await http.respond_json(send, 200, self._runtime.recording.after(int(after)))
        elif what == "cloudtrail" and method == "POST":
            await self._take_history(receive, send)
        elif what == "faults":
            text = dict(parse_qsl(scope["query_string"].decode())).get("text", "")
            if method == "DELETE" and text:
                faults.drop(text)
                await http.respond_json(send, 200, faults.listed())
            else:
                await self._settle(faults.listed, faults.replace, [], method, receive, send, faults.add)
        elif what == "switches":
            switches = self._runtime.switches
            await self._settle(switches.as_dict, switches.replace, {}, method, receive, send)
        elif what == "decisions":
            decisions = self._runtime.decisions
            await self._settle(decisions.listed, decisions.replace, [], method, receive, send)
        elif what == "oidc":
            await self._settle(iam.ISSUERS.listed, iam.ISSUERS.replace, {}, method, receive, send)
        else:
            await http.respond_json(send, 404, {"message": f"no {method} {scope['path']} in the control API"})

    async def _take_history(self, receive: Receive, send: Send) -> None:
        try:
            lines = await http.body_of(receive, LARGEST_HISTORY)
        except http.BodyTooLarge:
            message = f"at most {LARGEST_HISTORY} bytes at once; any number of times"
            await http.respond_json(send, 413, {"message": message})
            return
        taken = await asyncio.to_thread(self._runtime.audit.load, lines)
        await http.respond_json(send, 400 if taken["refused"] else 200, taken)

    async def _settle(
        self,
        show: Callable[[], Any],
        replace: Callable[[Any], None],
        nothing: Any,
        method: str,
        receive: Receive,
        send: Send,
        add: Callable[[Any], None] | None = None,
    ) -> None:
        """GET shows what is set, PUT replaces it, POST adds where that can be, DELETE sets it back.

        Each answers with what is set then.
        """
        try:
            if method == "PUT":
                replace(json.loads(await http.body_of(receive, 1_000_000)))
            elif method == "POST" and add is not None:
                add(json.loads(await http.body_of(receive, 1_000_000)))
            elif method == "DELETE":
                replace(nothing)
            elif method != "GET":
                await http.respond_json(send, 405, {"message": "GET, PUT or DELETE"})
                return
        except (FaultError, SwitchError, ValueError, TypeError) as error:
            await http.respond_json(send, 400, {"message": str(error)})
            return
        if method != "GET":
            log.info("set: %s", json.dumps(show()))
        await http.respond_json(send, 200, show())


class Answer:
    """Passes a response on without the emulator's CORS headers; keeps its status and headers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __call__(self, message: Any) -> None:
        await self._send(self._started(message) if message["type"] == "http.response.start" else message)

    def _started(self, message: Any) -> Any:
        self.status = message["status"]
        pairs = [(name, value) for name, value in message.get("headers", []) if not _is_cors(name)]
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}
        return {**message, "headers": pairs}


class ApiAnswer(Answer):
    """An AWS API's response: one request id in header and body; the body kept as far as the record needs it.

    `done` is called before the last part goes out: who has the answer finds its record.
    """

    def __init__(self, send: Send, request: ApiRequest, done: Callable[[ApiAnswer], None]) -> None:
        super().__init__(send)
        self._request = request
        self._done = done
        self._start: Any = None
        self.request_id = ""
        self.body = bytearray()

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            # It waits for the body, which knows the request id in some protocols.
            self._start = self._started(message)
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        part, start, self._start = message.get("body", b""), self._start, None
        if start is not None:
            self._take_request_id(start, part)
        if (self.status >= 400 or changes_have_their_answers(self._request)) and len(self.body) < LONGEST_ANSWER:
            self.body += part
        if not message.get("more_body", False):
            try:
                self._done(self)
            except Exception:
                log.exception("%s %s is not recorded", self._request.service, self._request.operation)
        if start is not None:
            await self._send(start)
        await self._send(message)

    def _take_request_id(self, start: Any, body: bytes) -> None:
        """The body's request id, where clients read it there (XML), else the header's; the headers then say the same.

        S3 has it in the header, and in the body of an error. Every answer says when it was given (RFC 9110, 6.6.1).
        """
        in_body = self._request.protocol in ("query", "ec2") or (
            self._request.protocol == "rest-xml" and self.status >= 400
        )
        found = REQUEST_ID.search(body) if in_body else None
        given = self.headers.get("x-amzn-requestid") or self.headers.get("x-amz-request-id") or str(uuid.uuid4())
        self.request_id = found.group(1).decode("latin-1") if found else given
        value = self.request_id.encode("latin-1")
        names = (b"x-amzn-requestid", b"x-amz-request-id")
        others = [(name, old) for name, old in start["headers"] if name.lower() not in names]
        also = [names[1]] if "x-amz-request-id" in self.headers else []
        if "date" not in self.headers:
            others.append((b"date", formatdate(usegmt=True).encode()))
        start["headers"] = [*others, *((name, value) for name in (names[0], *also))]
        self.headers["x-amzn-requestid"] = self.request_id


def _instead(request: ApiRequest, fault: Fault) -> RawResponse | None:
    """What is answered instead of the call's own answer."""
    if fault.body is not None:
        kind = [("content-type", fault.content_type)] if fault.content_type else []
        return fault.status, kind, fault.body.encode()
    if fault.kind is not None:
        return _refused(request, *aws_errors.spelled(fault.kind, request.service, request.protocol))
    return None if fault.code is None else _refused(request, fault.status, fault.code, fault.message)


def _refused(request: ApiRequest, status: int, code: str, message: str) -> RawResponse:
    return error_response(request.protocol, status, code, message, query_compatible=request.service in QUERY_COMPATIBLE)


def _is_cors(name: bytes) -> bool:
    return name.lower().startswith(b"access-control-")


def _to_origin_form(scope: Scope) -> None:
    """A client that takes us for its HTTP proxy names the whole URL (RFC 9112, 3.2.2): keep path and query of it."""
    path = scope["path"]
    if path.startswith(("http://", "https://")):
        raw = scope.get("raw_path", path.encode()).decode("latin-1").partition("?")[0]
        raw_path = "/" + raw.split("://", 1)[1].partition("/")[2]
        scope["path"], scope["raw_path"] = unquote(raw_path), raw_path.encode("latin-1")


async def _send(answer: Answer, response: RawResponse) -> None:
    status, headers, body = response
    await http.respond(answer, status, body, headers, content_type=None)
