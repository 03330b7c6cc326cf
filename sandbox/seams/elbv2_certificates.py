"""The further certificates of HTTPS listeners, which the emulator does not know: chosen by server name."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from sandbox.behaviours import behaviour
from sandbox.seams.elbv2_pages import page
from sandbox.seams.refusal import Params, Refused, Response

MOST = 25


def install(alb: Any) -> None:
    alb._ACTION_MAP.update(
        AddListenerCertificates=lambda p: _add(alb, p),
        RemoveListenerCertificates=lambda p: _remove(alb, p),
        DescribeListenerCertificates=lambda p: _describe(alb, p),
    )


def _listener(alb: Any, p: Params) -> dict[str, Any]:
    record: dict[str, Any] = alb._listeners[alb._p(p, "ListenerArn")]
    if record["Protocol"] != "HTTPS":
        raise Refused("UnsupportedProtocol", "Certificates can be specified for HTTPS listeners only")
    return record


def _xml(certificates: list[str], default: list[str]) -> str:
    return "".join(
        f"<member><CertificateArn>{escape(certificate)}</CertificateArn>"
        f"<IsDefault>{'true' if certificate in default else 'false'}</IsDefault></member>"
        for certificate in certificates
    )


def _add(alb: Any, p: Params) -> Response:
    record, wanted = _listener(alb, p), alb._parse_certificate_arns(p)
    kept = record.get("_certificates", [])
    fresh = [certificate for certificate in wanted if not _certificate_is_there(record, certificate)]
    _too_many_certificates(kept, fresh)
    record["_certificates"] = [*kept, *fresh]
    answer: Response = alb._xml(200, "AddListenerCertificates", f"<Certificates>{_xml(wanted, [])}</Certificates>")
    return answer


@behaviour("elbv2", otherwise=lambda *_: False)
def _certificate_is_there(listener: dict[str, Any], certificate: str) -> bool:
    """AddListenerCertificates with a certificate that the listener has succeeds and does not add it again.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddListenerCertificates.html
    """
    return certificate in listener.get("_certificates", [])


@behaviour("elbv2", code="TooManyCertificates")
def _too_many_certificates(kept: list[str], fresh: list[str]) -> None:
    """An application load balancer's listener has at most 25 certificates, the default one not counted.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    if len(kept) + len(fresh) > MOST:
        raise Refused("TooManyCertificates", f"The maximum number of certificates is {MOST}")


@behaviour("elbv2", code="OperationNotPermitted")
def _default_certificate_stays(listener: dict[str, Any], wanted: list[str]) -> None:
    """The default certificate of a listener cannot be removed from it.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RemoveListenerCertificates.html
    """
    if any(certificate in (listener.get("Certificates") or []) for certificate in wanted):
        raise Refused("OperationNotPermitted", "Default certificate cannot be removed")


def _remove(alb: Any, p: Params) -> Response:
    record, wanted = _listener(alb, p), alb._parse_certificate_arns(p)
    _default_certificate_stays(record, wanted)
    record["_certificates"] = [c for c in record.get("_certificates", []) if c not in wanted]
    answer: Response = alb._empty("RemoveListenerCertificates")
    return answer


def _describe(alb: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListenerCertificates.html"""
    record = _listener(alb, p)
    default = record.get("Certificates") or []
    shown, more = page(alb, p, [*default, *record.get("_certificates", [])])
    inner = f"<Certificates>{_xml(shown, default)}</Certificates>{more}"
    answer: Response = alb._xml(200, "DescribeListenerCertificates", inner)
    return answer
