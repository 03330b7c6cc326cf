"""The data plane of application load balancers: the Host header chooses one, its listener's rules what happens.

Clients reach it through the sandbox's own port (as HTTP proxy, or with a connect-to). What AWS would do with packets is
done with connections: a port without a listener closes it at once, a client whom the security groups keep out waits.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from sandbox import network
from sandbox.behaviours import behaviour
from sandbox.elbv2.forwarding import ClientGone, Exchange, Headers, TargetError, end_to_end, silent_target_is_504
from sandbox.elbv2.https_listeners import listeners_for
from sandbox.elbv2.listener_rules import Request, choose, redirect_location
from sandbox.elbv2.target_health import NOT_ENABLED, TargetHealth
from sandbox.emulator import request_scope, service
from sandbox.http import hang_up, headers_of, host_of
from sandbox.metrics.traffic import Meter
from sandbox.seams import elbv2_groups
from sandbox.seams.elbv2_rules import target_groups_of

if TYPE_CHECKING:
    from sandbox.runtime import Receive, Runtime, Scope, Send

Target = tuple[str, int]
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-504-issues
CONNECT_SECONDS = 10.0
# Linux gives up connecting after about this time when its packets are dropped.
DROPPED_SECONDS = 127.0
SERVER = (b"server", b"awselb/2.0")
REASONS = {
    301: "Moved Permanently",
    302: "Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


class LoadBalancers:
    """The sandbox.runtime.DataPlane of all load balancers."""

    def __init__(self, runtime: Runtime, health: TargetHealth) -> None:
        self._runtime = runtime
        self._health = health
        self._turn = itertools.count()

    def serves(self, host: str) -> bool:
        return _find(host) is not None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        found = _find(host_of(headers)) or _find_by_certificate(host_of(headers), scope.get("scheme", "http"))
        if found is None or _name_is_not_known_yet(self._runtime, found[2]):
            await hang_up(send)
            return
        account, region, balancer = found
        # Not kept over an await: this context belongs to the connection's task alone.
        with request_scope(account, region):
            request = _request(scope, headers)
            listener = _listener(balancer, request)
            if listener is None:
                await hang_up(send)
            elif not _admitted(balancer, request):
                await _drop(receive, send)
            else:
                await self._apply(
                    balancer, listener, request, scope, receive, Meter(self._runtime.metrics, balancer, send)
                )

    async def _apply(
        self,
        balancer: Mapping[str, Any],
        listener: Mapping[str, Any],
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Meter,
    ) -> None:
        rules = [r for r in service("alb")._rules.values() if r["ListenerArn"] == listener["ListenerArn"]]
        rule = choose(rules, request)
        actions = sorted(rule["Actions"], key=lambda action: int(action.get("Order", 1))) if rule else []
        action: Mapping[str, Any] = actions[-1] if actions else {"Type": "none"}
        if action["Type"] == "fixed-response":
            await _fixed_response(send, action["FixedResponseConfig"])
        elif action["Type"] == "redirect":
            config = action["RedirectConfig"]
            location = redirect_location(config, request).encode("latin-1")
            await _say(send, int(config["StatusCode"].rpartition("_")[2]), [(b"location", location)])
        elif action["Type"] == "forward" and len(actions) == 1:
            await self._forward(balancer, listener, actions, request, scope, receive, send)
        else:
            await _say(send, 500)

    async def _forward(
        self,
        balancer: Mapping[str, Any],
        listener: Mapping[str, Any],
        actions: list[dict[str, Any]],
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Meter,
    ) -> None:
        arn = _weighted(target_groups_of(actions))
        target = self._choose_target(arn) if arn else None
        if arn is None or target is None:
            await _say(send, _no_target_is_503())
            return
        send.chosen(arn)
        address, port = target
        idle = float(_attribute(balancer, "idle_timeout.timeout_seconds", "60"))
        started = False
        exchange: Exchange | None = None
        try:
            if not elbv2_groups.reaches(arn, address, port):
                await asyncio.sleep(CONNECT_SECONDS)
                raise TargetError(silent_target_is_504(), f"packets to {address}:{port} are dropped")
            exchange = await Exchange.open(address, port, CONNECT_SECONDS, idle)
            outgoing = _target_headers(balancer, listener, request, scope)
            answer = await exchange.ask(scope["method"].encode("latin-1"), _raw_target(scope), outgoing, receive)
            started = True
            send.answered()
            head = [*_connection_headers(), *answer.headers]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            async for chunk in answer.body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TargetError as error:
            await (hang_up(send) if started else _say(send, error.status))
        except ClientGone:
            pass
        finally:
            if exchange is not None:
                await exchange.close()

    def _choose_target(self, arn: str) -> tuple[str, int] | None:
        """Healthy targets in turn; when none is, any registered one (AWS fails open)."""
        alb = service("alb")
        record = alb._tgs.get(arn)
        registered = elbv2_groups.targets_of(alb, record) if record else []
        registered = [t for t in registered if self._health.finding(arn, *t) != NOT_ENABLED]
        if not registered:
            return None
        healthy = [t for t in registered if self._health.finding(arn, *t).state == "healthy"]
        usable = _only_healthy_ones(registered, healthy) or _fails_open(registered)
        return usable[next(self._turn) % len(usable)] if usable else None


@behaviour("elbv2", otherwise=lambda *_: False)
def _name_is_not_known_yet(runtime: Runtime, balancer: Mapping[str, Any]) -> bool:
    """A new load balancer's name does not resolve for a while (`dns_seconds`): its connections are closed unanswered.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#dns-name
    """
    return time.time() < float(balancer.get("_created", 0)) + runtime.switches.dns_seconds


@behaviour("elbv2", otherwise=lambda groups: groups[0][0] if groups else None)
def _weighted(groups: list[tuple[str, int]]) -> str | None:
    """A forward action with several target groups shares the requests out by weight; weight 0 gets none.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ForwardActionConfig.html
    """
    usable = [(arn, weight) for arn, weight in groups if weight > 0]
    return random.choices([arn for arn, _ in usable], [weight for _, weight in usable])[0] if usable else None


@behaviour("elbv2", otherwise=lambda: 500)
def _no_target_is_503() -> int:
    """A forward to a target group without registered targets is answered with 503.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
    """
    return 503


@behaviour("elbv2", otherwise=lambda registered, healthy: registered)
def _only_healthy_ones(registered: list[Target], healthy: list[Target]) -> list[Target]:
    """Requests go to healthy targets only, as long as there is one.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return healthy


@behaviour("elbv2", otherwise=lambda _: [])
def _fails_open(registered: list[Target]) -> list[Target]:
    """Without a healthy target, requests go to all registered ones.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return registered


def _balancers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for (account, region, _), record in list(service("alb")._lbs._data.items()):
        yield account, region, record


def _find(host: str) -> tuple[str, str, dict[str, Any]] | None:
    """The load balancer with this DNS name. One that is still being provisioned has none that resolves."""
    if not host.endswith(".elb.amazonaws.com"):
        return None
    for found in _balancers():
        if found[2]["DNSName"].lower() == host:
            return found
    # A load balancer's name all the same, so that no AWS API answers in its place.
    return ("", "", {"LoadBalancerArn": "", "State": "unknown"})


def _find_by_certificate(host: str, scheme: str) -> tuple[str, str, dict[str, Any]] | None:
    """Over TLS, a name of one's own that an HTTPS listener's certificate covers (on AWS a DNS alias leads there)."""
    if scheme == "https":
        for arn, _ in listeners_for(host):
            account, region = elbv2_groups.scope_of(arn)
            return account, region, service("alb")._lbs.get_scoped(account, region, arn)
    return None


def _request(scope: Scope, headers: Mapping[str, str]) -> Request:
    name, _, port = headers.get("host", "").partition(":")
    scheme = scope.get("scheme", "http")
    client = scope.get("client") or ("127.0.0.1", 0)
    raw_path = _raw_target(scope).partition(b"?")[0].decode("latin-1")
    return Request(
        method=scope["method"],
        host=name,
        path=raw_path,
        query=scope["query_string"].decode("latin-1"),
        headers=tuple(
            (key.decode("latin-1").lower(), value.decode("latin-1")) for key, value in scope.get("headers", [])
        ),
        client=client[0],
        scheme=scheme,
        port=int(port) if port.isdigit() else 443 if scheme == "https" else 80,
    )


def _raw_target(scope: Scope) -> bytes:
    path: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0] or b"/"
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


Record = Mapping[str, Any]


def _listener(balancer: Record, request: Request) -> Record | None:
    listeners = [
        listener
        for listener in service("alb")._listeners.values()
        if listener["LoadBalancerArn"] == balancer["LoadBalancerArn"]
    ]
    found = _listener_of_the_port(listeners, request)
    usable = found is not None and _speaks_its_protocol(found, request) and _serves_once_active(balancer)
    return found if usable else None


@behaviour("elbv2", otherwise=lambda listeners, _: listeners[0] if listeners else None)
def _listener_of_the_port(listeners: list[Record], request: Request) -> Record | None:
    """A connection to a port without a listener is closed.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html
    """
    return next((listener for listener in listeners if listener["Port"] == request.port), None)


@behaviour("elbv2", otherwise=lambda *_: True)
def _speaks_its_protocol(listener: Record, request: Request) -> bool:
    """A listener speaks HTTP or HTTPS, not both.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html
    """
    return str(listener["Protocol"]).lower() == request.scheme


@behaviour("elbv2", otherwise=lambda _: True)
def _serves_once_active(balancer: Record) -> bool:
    """A load balancer that is still `provisioning` serves nobody.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#load-balancer-state
    """
    return str(balancer["State"]) == "active"


@behaviour("elbv2", otherwise=lambda *_: True)
def _admitted(balancer: Record, request: Request) -> bool:
    """A client that no rule of the load balancer's security groups admits gets no answer at all.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-update-security-groups.html
    """
    return network.admits(
        service("ec2")._security_groups, balancer["SecurityGroups"], source_ip=request.client, port=request.port
    )


def _attribute(balancer: Mapping[str, Any], key: str, default: str) -> str:
    for item in service("alb")._lb_attrs.get(balancer["LoadBalancerArn"], []):
        if item["Key"] == key:
            return str(item["Value"])
    return default


def _trace_id() -> str:
    return f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"


def _target_headers(
    balancer: Mapping[str, Any], listener: Mapping[str, Any], request: Request, scope: Scope
) -> Headers:
    """What a target gets. https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html"""
    sent = end_to_end(scope.get("headers", []))
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in scope.get("headers", []))
    own = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-amzn-trace-id", b"host", b"expect"}
    headers = [pair for pair in sent if pair[0] not in own]
    given = {name: value for name, value in sent if name in own}
    mode = _attribute(balancer, "routing.http.xff_header_processing.mode", "append")
    forwarded = _forwarded_for(mode, given.get(b"x-forwarded-for", b"").decode("latin-1"), request.client)
    if forwarded:
        headers.append((b"x-forwarded-for", forwarded.encode("latin-1")))
    headers += [
        (b"x-forwarded-proto", request.scheme.encode()),
        (b"x-forwarded-port", str(listener["Port"]).encode()),
        (b"x-amzn-trace-id", _trace(given.get(b"x-amzn-trace-id", b"").decode("latin-1")).encode("latin-1")),
    ]
    preserved = _attribute(balancer, "routing.http.preserve_host_header.enabled", "false") == "true"
    host = _host_for_target(preserved, given.get(b"host", b"").decode("latin-1"), request.host, int(listener["Port"]))
    headers.append((b"host", host.encode("latin-1")))
    headers.append((b"connection", b"close"))
    if chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    return headers


@behaviour("elbv2", otherwise=lambda mode, before, client: before)
def _forwarded_for(mode: str, before: str, client: str) -> str:
    """X-Forwarded-For is appended to, preserved or removed, as routing.http.xff_header_processing.mode says.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
    """
    if mode == "append":
        return f"{before}, {client}" if before else client
    return before if mode == "preserve" else ""


@behaviour("elbv2", otherwise=lambda preserved, given, host, port: given)
def _host_for_target(preserved: bool, given: str, host: str, port: int) -> str:
    """The Host header gets the listener's port when that is not 80 or 443, unless preserve_host_header is on.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html#host-header-preservation
    """
    if preserved:
        return given
    return host if port in (80, 443) else f"{host}:{port}"


@behaviour("elbv2", stateful=False, otherwise=lambda given: given)
def _trace(given: str) -> str:
    """X-Amzn-Trace-Id is added, or kept with the load balancer's own part before it.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html
    """
    fields = [field.strip() for field in given.split(";") if field.strip()]
    if not any(field.startswith("Root=") for field in fields):
        return ";".join([f"Root={_trace_id()}", *fields])
    return ";".join([f"Self={_trace_id()}", *(field for field in fields if not field.startswith("Self="))])


@behaviour("elbv2", otherwise=lambda send, _: _say(send, 500))
async def _fixed_response(send: Send, config: Mapping[str, Any]) -> None:
    """A fixed-response action answers with its status, content type and body, and asks no target.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html
    """
    body = str(config.get("MessageBody") or "").encode()
    headers = [(b"content-type", str(config.get("ContentType") or "text/plain").encode())] if body else []
    await _respond(send, int(config["StatusCode"]), [*headers, (b"content-length", str(len(body)).encode())], body)


async def _say(send: Send, status: int, headers: Headers | None = None) -> None:
    """A response of the load balancer's own, in AWS's words."""
    title = f"{status} {REASONS[status]}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ).encode()
    length = (b"content-length", str(len(body)).encode())
    await _respond(send, status, [(b"content-type", b"text/html"), length, *(headers or [])], body)


def _connection_headers() -> Headers:
    """Date is the load balancer's own, also on answers of targets."""
    return [(b"date", formatdate(usegmt=True).encode()), (b"connection", b"keep-alive")]


async def _respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    head = [SERVER, *_connection_headers(), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _drop(receive: Receive, send: Send) -> None:
    """Nobody answers: the client waits until it has had enough, or as long as a kernel would."""
    try:
        async with asyncio.timeout(DROPPED_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
    await hang_up(send)
