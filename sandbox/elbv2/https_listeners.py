"""TLS in front of load balancers: one socket in the VPC's own range, the certificate of the listener by server name.

An ACM certificate of the sandbox is a record without a key: what is shown for it is signed by the sandbox's authority,
for the domains that it names, as Amazon's authority signs ACM's.
"""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.tls import Authority, write_private

if TYPE_CHECKING:
    from sandbox.elbv2.load_balancer import LoadBalancers
    from sandbox.runtime import Receive, Runtime, Scope, Send

# Not 443: an ordinary user cannot have it. The claim on the VPC's range keeps the address ours.
PORT = 8443


def domains_of(certificate: str) -> list[str]:
    """Domain names of an ACM certificate by its ARN; none when there is no such certificate."""
    _, _, _, region, account, _ = (certificate.split(":", 5) + [""] * 6)[:6]
    record = emulator.service("acm")._certificates.get_scoped(account, region, certificate)
    if record is None:
        return []
    names: list[str] = [record["DomainName"], *(record.get("SubjectAlternativeNames") or [])]
    return list(dict.fromkeys(names))


def listeners_for(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(load balancer, HTTPS listener) that a server name leads to: the load balancer's own, or one of a certificate."""
    alb = emulator.service("alb")
    for (account, region, _), listener in list(alb._listeners._data.items()):
        if listener["Protocol"] != "HTTPS":
            continue
        balancer = alb._lbs.get_scoped(account, region, listener["LoadBalancerArn"])
        if balancer is None:
            continue
        certificates = [*(listener.get("Certificates") or []), *listener.get("_certificates", [])]
        domains = [domain for certificate in certificates for domain in domains_of(certificate)]
        if name == balancer["DNSName"].lower() or any(covers(domain, name) for domain in domains):
            yield listener["LoadBalancerArn"], listener


def covers(domain: str, name: str) -> bool:
    """A wildcard stands for one label (RFC 6125, 6.4.3)."""
    return fnmatch.fnmatchcase(name, domain.lower()) and name.count(".") == domain.count(".")


@behaviour("elbv2")
def _certificate_for(name: str) -> str | None:
    """An HTTPS listener shows the certificate of its list that covers the server name, else its default one.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html
    """
    for _, listener in listeners_for(name):
        certificates = [*(listener.get("Certificates") or [""]), *listener.get("_certificates", [])]
        fitting = [c for c in certificates if any(covers(domain, name) for domain in domains_of(c))]
        return str([*fitting, *certificates][0])
    return None


class HttpsListeners:
    """Serves load balancers over TLS as long as the sandbox runs."""

    def __init__(self, runtime: Runtime, balancers: LoadBalancers, authority: Authority) -> None:
        self._runtime = runtime
        self._balancers = balancers
        self._authority = authority
        self._folder: Path = runtime.settings.ca_file.parent
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._ended = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.address = f"127.{runtime.settings.octet}.0.3"

    def start(self) -> None:
        """In the server's loop."""
        hypercorn: Any = emulator.module("hypercorn.asyncio")
        config = emulator.module("hypercorn.config").Config()
        config.bind = [f"{self.address}:{PORT}"]
        certificate, key = self._files("default", ["*.elb.amazonaws.com"])
        config.certfile, config.keyfile = str(certificate), str(key)
        config.loglevel = "WARNING"
        config.accesslog = None
        config.alpn_protocols = ["http/1.1"]
        context = config.create_ssl_context()
        context.sni_callback = self._choose
        config.create_ssl_context = lambda: context
        serving = hypercorn.serve(self._application, config, shutdown_trigger=self._ended.wait)
        self._serving = asyncio.get_running_loop().create_task(serving)
        self._runtime.facts["https_address"] = f"{self.address}:{PORT}"

    def stop(self) -> None:
        self._ended.set()

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
        elif scope["type"] == "http":
            await self._balancers.handle(scope, receive, send)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, default: ssl.SSLContext) -> None:
        """Called by the TLS library in the midst of the handshake; without a listener the default stays."""
        if (certificate := _certificate_for((name or "").lower())) is None:
            return
        if certificate not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(*self._files(certificate, domains_of(certificate)))
            self._contexts[certificate] = context
        connection.context = self._contexts[certificate]

    def _files(self, certificate: str, domains: list[str]) -> tuple[Path, Path]:
        stem = f"listener-{hashlib.sha256(certificate.encode()).hexdigest()[:12]}"
        files = (self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        credential = self._authority.issue(domains[0] if domains else "listener", domains)
        write_private(files[0], credential.certificate)
        write_private(files[1], credential.key)
        return files
