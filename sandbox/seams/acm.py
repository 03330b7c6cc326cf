"""ACM on ministack: certificates that know which load balancers show them, and are logged unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Data = dict[str, Any]
Handler = Callable[[Data], Any]


def install(runtime: Runtime) -> None:
    acm, alb = emulator.service("acm"), emulator.service("alb")
    shape, delete, request = acm._cert_shape, acm._delete_certificate, acm._request_certificate
    acm._cert_shape = lambda cert: _shown(alb, cert, shape(cert))
    acm._delete_certificate = lambda data: certificate_in_use(alb, data.get("CertificateArn", "")) or delete(data)
    acm._request_certificate = lambda data: _requested(acm, data, request(data))


def _shown(alb: Any, cert: Data, shape: Data) -> Data:
    return {**shape, "InUseBy": [*shape["InUseBy"], *certificate_in_use_by(alb, cert["CertificateArn"])]}


def _balancers(alb: Any, certificate: str) -> list[str]:
    """Load balancers with a listener that has this certificate, as its default one or a further one."""
    listeners = [
        listener["LoadBalancerArn"]
        for listener in alb._listeners.values()
        if certificate in [*(listener.get("Certificates") or []), *listener.get("_certificates", [])]
    ]
    return [balancer for balancer in dict.fromkeys(listeners) if balancer in alb._lbs]


@behaviour("acm", otherwise=lambda alb, certificate: [])
def certificate_in_use_by(alb: Any, certificate: str) -> list[str]:
    """DescribeCertificate names the load balancers whose listeners have the certificate.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_CertificateDetail.html (InUseBy)
    """
    return _balancers(alb, certificate)


@behaviour("acm", code="ResourceInUseException")
def certificate_in_use(alb: Any, certificate: str) -> Any:
    """A certificate that a listener has cannot be deleted.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_DeleteCertificate.html (Errors)
    """
    if not _balancers(alb, certificate):
        return None
    text = f"Certificate {certificate} in account {alb.get_account_id()} is in use."
    return emulator.json_error("ResourceInUseException", text)


def _requested(acm: Any, data: Data, response: Any) -> Any:
    if response[0] == 200:
        record = acm._certificates[emulator.body_of(response)["CertificateArn"]]
        record["Options"] = certificates_are_logged(data.get("Options") or {})
    return response


@behaviour("acm", otherwise=lambda options: {})
def certificates_are_logged(options: Data) -> Data:
    """A requested certificate goes to the transparency logs unless its options say otherwise; they are shown.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_CertificateOptions.html
    """
    return {"CertificateTransparencyLoggingPreference": "ENABLED", **options}
