"""ACM of the sandbox: certificates and the load balancers that show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.support import Network, Sandbox, refused

ACTION = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}


@pytest.fixture
def acm(sandbox: Sandbox) -> Any:
    return sandbox.client("acm")


@pytest.fixture
def certificate(acm: Any) -> Iterator[str]:
    made = str(acm.request_certificate(DomainName="acm.example.com")["CertificateArn"])
    yield made
    acm.delete_certificate(CertificateArn=made)


@pytest.fixture
def balancer(sandbox: Sandbox, network: Network) -> Iterator[str]:
    elb = sandbox.client("elbv2")
    made = elb.create_load_balancer(Name="certified", Subnets=network.subnets, Scheme="internal")["LoadBalancers"]
    yield str(made[0]["LoadBalancerArn"])
    elb.delete_load_balancer(LoadBalancerArn=made[0]["LoadBalancerArn"])


def in_use_by(acm: Any, certificate: str) -> list[str]:
    found: list[str] = acm.describe_certificate(CertificateArn=certificate)["Certificate"]["InUseBy"]
    return found


@pytest.mark.behaviour("acm.certificate_in_use_by", "acm.certificate_in_use")
def test_a_certificate_knows_whose_it_is_and_stays_until_then(
    sandbox: Sandbox, acm: Any, certificate: str, balancer: str
) -> None:
    elb = sandbox.client("elbv2")
    further = acm.request_certificate(DomainName="further.example.com")["CertificateArn"]
    listener = elb.create_listener(
        LoadBalancerArn=balancer,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=[ACTION],
    )["Listeners"][0]["ListenerArn"]
    assert in_use_by(acm, further) == []
    elb.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": further}])
    assert [in_use_by(acm, one) for one in (certificate, further)] == [[balancer], [balancer]]
    for one in (certificate, further):
        with refused("ResourceInUseException", f"Certificate {one} in account 123456789012 is in use.", 400):
            acm.delete_certificate(CertificateArn=one)
    elb.remove_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": further}])
    acm.delete_certificate(CertificateArn=further)
    elb.delete_listener(ListenerArn=listener)
    assert in_use_by(acm, certificate) == []


@pytest.mark.behaviour("acm.certificates_are_logged")
def test_a_requested_certificate_is_logged_unless_told_otherwise(acm: Any, certificate: str) -> None:
    options = {"CertificateTransparencyLoggingPreference": "DISABLED"}
    other = acm.request_certificate(DomainName="quiet.example.com", Options=options)["CertificateArn"]
    shown = [
        acm.describe_certificate(CertificateArn=one)["Certificate"]["Options"].get(
            "CertificateTransparencyLoggingPreference"
        )
        for one in (certificate, other)
    ]
    acm.delete_certificate(CertificateArn=other)
    assert shown == ["ENABLED", "DISABLED"]
