"""The roles of infra/iam in a local AWS: made by Terraform, taken with tokens as a GitHub workflow takes them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.sandbox.support import Sandbox
from tests.terraform import stacks

ISSUER = "token.actions.githubusercontent.com"
REPOSITORY, BRANCH = "example/papyrus.ops", "refs/heads/main"
ENVIRONMENTS = {"smoke": "smoke", "release": "production", "export": "audit", "sweep": "sweep"}
# What a profile of the SDK runs for its credentials: neither boto3 nor Terraform 3.39 then needs an STS endpoint.
PROCESS = """
import json, re, sys, urllib.parse, urllib.request
endpoint, role, token = sys.argv[1:]
asked = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role, "RoleSessionName": "workflow",
         "WebIdentityToken": open(token, encoding="ascii").read(), "DurationSeconds": "7200"}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
answer = opener.open(endpoint, urllib.parse.urlencode(asked).encode(), timeout=30).read().decode()
names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
print(json.dumps({"Version": 1, **{name: re.search(f"<{name}>([^<]+)<", answer)[1] for name in names}}))
"""


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens as GitHub does; the local AWS knows its key by the control interface."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        n, e = (_encoded(value.to_bytes(size, "big")) for value, size in ((numbers.n, 256), (numbers.e, 3)))
        return {"keys": [{"kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig", "n": n, "e": e}]}

    def token(
        self,
        environment: str,
        *,
        repository: str = REPOSITORY,
        ref: str = BRANCH,
        audience: str = "sts.amazonaws.com",
        subject: str = "",
    ) -> str:
        """A job's token. https://docs.github.com/en/actions/reference/security/oidc"""
        now = int(time.time())
        claims = {
            "iss": f"https://{ISSUER}",
            "aud": audience,
            "sub": subject or f"repo:{repository}:environment:{environment}",
            "repository": repository,
            "environment": environment,
            "ref": ref,
            "iat": now,
            "exp": now + 7200,
        }
        head = {"alg": "RS256", "typ": "JWT", "kid": "one"}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_encoded(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@dataclass
class Roles:
    """The stack, applied in a folder to one local AWS, which is then in IAM mode until `close`."""

    sandbox: Sandbox
    folder: Path
    variables: Mapping[str, Any]
    issuer: Issuer = field(default_factory=Issuer)
    arns: dict[str, str] = field(default_factory=dict)

    def apply(self) -> Roles:
        work = self.folder / "iam"
        stacks.copy("iam", work)
        for name in ("sandbox_endpoint.tf", "sandbox_override.tf"):
            (work / name).write_bytes((stacks.CHECKOUT / "sandbox" / "terraform" / name).read_bytes())
        (work / "stack.auto.tfvars.json").write_text(json.dumps(dict(self.variables)), "utf-8")
        self._terraform(work, "init", "-no-color", "-input=false")
        self._terraform(work, "apply", "-no-color", "-input=false", "-auto-approve")
        self.arns = json.loads(self._terraform(work, "output", "-json"))["role_arns"]["value"]
        status, _, body = self.sandbox.http(
            "PUT", "/_sandbox/oidc", json.dumps({f"https://{ISSUER}": self.issuer.jwks()}).encode()
        )
        assert status == 200, body
        return self

    def plan(self) -> int:
        """Exit code of a plan after the apply: 0 when it changes nothing, 2 when it would."""
        return self._run(self.folder / "iam", "plan", "-no-color", "-input=false", "-detailed-exitcode").returncode

    def _run(self, work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        known = self.sandbox.facts
        credentials = {"AWS_ACCESS_KEY_ID": known["access_key_id"], "AWS_SECRET_ACCESS_KEY": known["secret_access_key"]}
        return stacks.terraform(
            work, *arguments, timeout=300, TF_VAR_sandbox_endpoint=self.sandbox.endpoint, **credentials
        )

    def _terraform(self, work: Path, *arguments: str) -> str:
        done = self._run(work, *arguments)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def take(self, role: str, token: str) -> dict[str, Any]:
        """Credentials of a role for a token, asked for as a workflow does: without any. ClientError when refused."""
        sts = boto3.client(
            "sts",
            endpoint_url=self.sandbox.endpoint,
            region_name=self.sandbox.facts["region"],
            config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
        )
        answer: dict[str, Any] = sts.assume_role_with_web_identity(
            RoleArn=self.arns[role], RoleSessionName="workflow", WebIdentityToken=token
        )
        return answer["Credentials"]

    def session(self, role: str) -> boto3.Session:
        """What a job of the role's environment has."""
        given = self.take(role, self.issuer.token(ENVIRONMENTS[role]))
        return boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=self.sandbox.facts["region"],
        )

    def client(self, role: str, service: str) -> Any:
        return self.session(role).client(
            service, endpoint_url=self.sandbox.endpoint, config=Config(retries={"total_max_attempts": 1})
        )

    def environment(self, role: str) -> dict[str, str]:
        """`papyrus_aws_environment` of an inventory that names a profile: no secret is in it."""
        folder = self.folder / role
        folder.mkdir(mode=0o700, exist_ok=True)
        token, process, config = folder / "token", folder / "process.py", folder / "config"
        token.write_text(self.issuer.token(ENVIRONMENTS[role]), "ascii")
        token.chmod(0o600)
        process.write_text(PROCESS, "utf-8")
        command = f"{sys.executable} -I -S {process} {self.sandbox.endpoint} {self.arns[role]} {token}"
        config.write_text(f"[profile {role}]\ncredential_process = {command}\n", "utf-8")
        known = self.sandbox.facts
        return {
            "AWS_ENDPOINT_URL": self.sandbox.endpoint,
            "AWS_PROFILE": role,
            "AWS_CONFIG_FILE": str(config),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_SDK_LOAD_CONFIG": "1",
            "AWS_REGION": str(known["region"]),
            "AWS_DEFAULT_REGION": str(known["region"]),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.0/8,localhost",
            "no_proxy": "127.0.0.0/8,localhost",
        }

    def asked(self) -> dict[str, list[dict[str, Any]]]:
        """What was asked of policies since the last `forget`, by the role's name."""
        answer = json.loads(self.sandbox.http("GET", "/_sandbox/decisions")[2])
        assert answer["left_out"] == 0, answer["left_out"]
        found: dict[str, list[dict[str, Any]]] = {}
        for one in answer["decisions"]:
            found.setdefault(one["principal"].rpartition("/")[2], []).append(one)
        return found

    def forget(self) -> None:
        self.sandbox.http("DELETE", "/_sandbox/decisions")
