"""AssumeRoleWithWebIdentity in IAM mode: tokens really signed, keys served over loopback, everything wrong refused."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.sandbox.iam_support import allow, client, role, trust, unique
from tests.sandbox.support import Sandbox, refused

SUBJECT = "repo:example/app:environment:production"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return encoded(value.to_bytes(size, "big"))


def jwks() -> dict[str, Any]:
    one, two = RSA_KEY.public_key().public_numbers(), EC_KEY.public_key().public_numbers()
    return {
        "keys": [
            {"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": number(one.n, 256), "e": number(one.e, 3)},
            {"kty": "EC", "kid": "ec", "alg": "ES256", "crv": "P-256", "x": number(two.x, 32), "y": number(two.y, 32)},
        ]
    }


def token(issuer: str, algorithm: str = "RS256", kid: str | None = None, **claims: Any) -> str:
    now = int(time.time())
    body = {"iss": issuer, "sub": SUBJECT, "aud": "sts.amazonaws.com", "iat": now, "exp": now + 300, **claims}
    head = {"alg": algorithm, "typ": "JWT", "kid": kid or {"RS256": "rsa", "ES256": "ec"}[algorithm]}
    text = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(body).encode())}"
    if algorithm == "RS256":
        signature = RSA_KEY.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = decode_dss_signature(EC_KEY.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{text}.{encoded(signature)}"


@pytest.fixture
def mode(sandbox: Sandbox) -> Iterator[Sandbox]:
    with sandbox.switched(iam=True):
        yield sandbox
        sandbox.http("DELETE", "/_sandbox/oidc")


@pytest.fixture
def issuer(mode: Sandbox) -> Iterator[str]:
    """An issuer whose keys the sandbox was given; a provider of the account."""
    url = f"https://{unique('issuer')}.example.com"
    known(mode, url, jwks())
    yield from provider(mode, url)


def known(sandbox: Sandbox, issuer: str, keys: Any) -> None:
    status, _, body = sandbox.http("PUT", "/_sandbox/oidc", json.dumps({issuer: keys}).encode())
    assert status == 200, body


def provider(sandbox: Sandbox, url: str) -> Iterator[str]:
    iam = sandbox.client("iam")
    arn = iam.create_open_id_connect_provider(Url=url, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    yield url
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def trusting(issuer: str, subject: str = SUBJECT, **more: Any) -> dict[str, Any]:
    """A trust policy as a workflow's role has it."""
    host = issuer.removeprefix("https://")
    federated = {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{host}"}
    equals = {f"{host}:aud": "sts.amazonaws.com"}
    like = {f"{host}:sub": subject}
    return trust(federated, "sts:AssumeRoleWithWebIdentity", StringEquals=equals, StringLike=like, **more)


def assume(sandbox: Sandbox, arn: str, web_token: str, **more: Any) -> dict[str, Any]:
    """Without credentials, as a workflow does."""
    sts = boto3.client(
        "sts",
        endpoint_url=sandbox.endpoint,
        region_name=sandbox.facts["region"],
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )
    answer: dict[str, Any] = sts.assume_role_with_web_identity(
        RoleArn=arn, RoleSessionName="run", WebIdentityToken=web_token, **more
    )
    return answer


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.behaviour("sts.unsigned_is_enough")
def test_a_token_gives_the_roles_credentials(mode: Sandbox, issuer: str, algorithm: str) -> None:
    with role(mode, trusting(issuer), allow("ecs:ListClusters")) as arn:
        made = assume(mode, arn, token(issuer, algorithm))
        assert (made["SubjectFromWebIdentityToken"], made["Audience"]) == (SUBJECT, "sts.amazonaws.com")
        assert made["Provider"].endswith(f":oidc-provider/{issuer.removeprefix('https://')}")
        client(mode, "ecs", made["Credentials"]).list_clusters()
        with refused("AuthorizationError", f"User: {made['AssumedRoleUser']['Arn']}", 403):
            client(mode, "sns", made["Credentials"]).list_topics()


@pytest.mark.behaviour("sts.role_trusts_the_token")
def test_only_the_subjects_that_the_role_trusts(mode: Sandbox, issuer: str) -> None:
    with role(mode, trusting(issuer, "repo:example/app:*")) as arn:
        assert assume(mode, arn, token(issuer))["Credentials"]
        for subject in ("repo:example/other:ref:refs/heads/main", "repo:example/apps:ref:refs/heads/main"):
            with refused("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403):
                assume(mode, arn, token(issuer, sub=subject))
    with role(mode, trust({"Service": "ecs-tasks.amazonaws.com"})) as arn, refused("AccessDenied", status=403):
        assume(mode, arn, token(issuer))
    with refused("AccessDenied", status=403):
        assume(mode, "arn:aws:iam::123456789012:role/none", token(issuer))


@pytest.mark.behaviour("sts.role_trusts_the_token")
def test_claims_that_aws_knows_no_key_for_cannot_be_asked_for(mode: Sandbox) -> None:
    github = "https://token.actions.githubusercontent.com"
    known(mode, github, jwks())
    given = provider(mode, github)
    next(given)
    try:
        host = github.removeprefix("https://")
        claims = {"repository": "example/app", "run_id": "1"}
        for claim, allowed in (("repository", True), ("run_id", False)):
            wanted = trusting(github, StringEqualsIgnoreCase={f"{host}:{claim}": claims[claim]})
            with role(mode, wanted) as arn:
                if allowed:
                    assert assume(mode, arn, token(github, **claims))["Credentials"]
                else:
                    with refused("AccessDenied", status=403):
                        assume(mode, arn, token(github, **claims))
    finally:
        next(given, None)


@pytest.mark.behaviour("sts.signature_of_the_token")
def test_a_token_that_somebody_else_signed(mode: Sandbox, issuer: str) -> None:
    with role(mode, trusting(issuer)) as arn:
        head, body, signature = token(issuer).split(".")
        forged = encoded(base64.urlsafe_b64decode(body + "==").replace(b"production", b"developmen"))
        with refused("InvalidIdentityToken", status=400):
            assume(mode, arn, f"{head}.{forged}.{signature}")
        with refused("InvalidIdentityToken", "Couldn't retrieve verification key", 400):
            assume(mode, arn, token(issuer, kid="another"))
        none = encoded(json.dumps({"alg": "none", "kid": "rsa"}).encode())
        with refused("InvalidIdentityToken", status=400):
            assume(mode, arn, f"{none}.{body}.{encoded(b'')}")


@pytest.mark.behaviour("sts.signature_of_the_token")
def test_an_issuer_that_cannot_be_reached(mode: Sandbox, issuer: str) -> None:
    with role(mode, trusting(issuer)) as arn:
        mode.http("DELETE", "/_sandbox/oidc")
        with refused("IDPCommunicationError", issuer, 400):
            assume(mode, arn, token(issuer))
        known(mode, issuer, "http://127.0.0.1:1/keys")
        with refused("IDPCommunicationError", issuer, 400):
            assume(mode, arn, token(issuer))


@pytest.mark.behaviour("sts.issuer_is_known")
def test_an_issuer_that_is_no_provider(mode: Sandbox) -> None:
    stranger = f"https://{unique('stranger')}.example.com"
    known(mode, stranger, jwks())
    anybody = trust({"Federated": "*"}, "sts:AssumeRoleWithWebIdentity")
    message = f"No OpenIDConnect provider found in your account for {stranger}"
    with role(mode, anybody) as arn, refused("InvalidIdentityToken", message, 400):
        assume(mode, arn, token(stranger))


@pytest.mark.behaviour("sts.audience_of_the_token")
def test_an_audience_that_the_provider_does_not_have(mode: Sandbox, issuer: str) -> None:
    host = issuer.removeprefix("https://")
    anybody = trust({"Federated": f"arn:aws:iam::123456789012:oidc-provider/{host}"}, "sts:AssumeRoleWithWebIdentity")
    with role(mode, anybody) as arn:
        assert assume(mode, arn, token(issuer, aud=["other", "sts.amazonaws.com"]))["Credentials"]
        with refused("InvalidIdentityToken", "Incorrect token audience", 400):
            assume(mode, arn, token(issuer, aud="other"))


@pytest.mark.behaviour("sts.token_has_expired")
def test_a_token_that_has_expired(mode: Sandbox, issuer: str) -> None:
    with role(mode, trusting(issuer)) as arn, refused("ExpiredTokenException", "Token expired", 400):
        assume(mode, arn, token(issuer, exp=int(time.time()) - 1))


def test_what_is_no_token(mode: Sandbox, issuer: str) -> None:
    with role(mode, trusting(issuer)) as arn:
        for text in ("nonsense", "a.b.c", token(issuer, sub="")):
            with refused("InvalidIdentityToken", "is not a valid JWT", 400):
                assume(mode, arn, text)


@pytest.mark.behaviour("sts.longer_than_the_role_allows")
def test_a_token_lives_no_longer_than_its_role_allows(mode: Sandbox, issuer: str) -> None:
    with role(mode, trusting(issuer)) as arn, refused("ValidationError", "MaxSessionDuration", 400):
        assume(mode, arn, token(issuer), DurationSeconds=7200)


def test_keys_are_fetched_over_loopback(mode: Sandbox, issuer: str) -> None:
    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(jwks()).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Keys)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        known(mode, issuer, f"http://127.0.0.1:{server.server_port}/keys")
        with role(mode, trusting(issuer)) as arn:
            assert assume(mode, arn, token(issuer))["Credentials"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    for keys in ("http://203.0.113.1/keys", "https://issuer.example.com/keys", {"no": "keys"}):
        status, _, body = mode.http("PUT", "/_sandbox/oidc", json.dumps({issuer: keys}).encode())
        assert status == 400, body
