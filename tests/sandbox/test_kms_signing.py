"""Evidence signed with KMS (J2): by who may, with keys that can, and what KMS and CloudTrail say of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.audit_support import Account
from tests.sandbox.iam_support import allow, document, role, statement, trust, user
from tests.sandbox.support import CHECKOUT, Sandbox, refused, until

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils._dsse import (
    check_signature,
    load_public_keys,
    parse_envelope,
    public_key,
)
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._signers import (
    OpenSigner,
    SignerError,
    open_signer,
)
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.tests.unit.evidence_world import passing_smoke

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1"}'
SIGNING: dict[str, Any] = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
SIGN: dict[str, Any] = {"Message": bytes(32), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
Environment = Callable[..., None]


@pytest.fixture
def kms(sandbox: Sandbox) -> Any:
    return sandbox.client("kms")


@pytest.fixture
def environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Sets the SDK's variables, by default to the sandbox and its root."""

    def use(key: str = "test", secret: str = "test", token: str = "", **more: str) -> None:
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        values = {
            "AWS_ENDPOINT_URL": sandbox.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_DEFAULT_REGION": str(sandbox.facts["region"]),
            **({"AWS_SESSION_TOKEN": token} if token else {}),
            **more,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    use()
    return use


@pytest.fixture
def key(kms: Any, environment: Environment) -> Iterator[Callable[..., str]]:
    """ARNs of new keys, which are on their way out after the test."""
    made: list[str] = []

    def make(**settings: Any) -> str:
        made.append(kms.create_key(**{**SIGNING, **settings})["KeyMetadata"]["Arn"])
        return made[-1]

    yield make
    for one in made:
        for alias in kms.list_aliases(KeyId=one)["Aliases"]:
            kms.delete_alias(AliasName=alias["AliasName"])
        if kms.describe_key(KeyId=one)["KeyMetadata"]["KeyState"] != "PendingDeletion":
            kms.schedule_key_deletion(KeyId=one, PendingWindowInDays=7)


def opened(key_id: str, region: str = "") -> OpenSigner:
    signer = open_signer({"type": "kms", "key_id": key_id}, region=region)
    assert signer is not None
    return signer


@pytest.mark.parametrize(
    ("spec", "scheme"),
    [
        ("ECC_NIST_P256", "ecdsa-sha2-nistp256"),
        ("ECC_NIST_P384", "ecdsa-sha2-nistp384"),
        ("RSA_2048", "rsassa-pss-sha256"),
        ("RSA_4096", "rsassa-pss-sha256"),
    ],
)
def test_j2_an_envelope_by_kms_verifies_offline(key: Callable[..., str], spec: str, scheme: str) -> None:
    arn = key(KeySpec=spec)
    signer = opened(arn.rpartition("/")[2])
    assert (signer.kind, signer.trust, signer.identity) == ("kms", "kms", arn)
    trusted = public_key(signer.public_key.encode(), "key")
    for number in range(8):  # half of KMS's own ECDSA signatures have the larger s
        envelope = parse_envelope(signer.envelope(STATEMENT + b" " * number))
        assert check_signature(envelope, [trusted]).scheme == scheme
        assert envelope.keyid == signer.keyid == trusted.keyid


def test_j2_an_alias_is_the_key_that_it_was_when_the_run_began(kms: Any, key: Callable[..., str]) -> None:
    first, second = key(), key()
    kms.create_alias(AliasName="alias/release", TargetKeyId=first)
    signer = opened("alias/release")
    kms.update_alias(AliasName="alias/release", TargetKeyId=second)
    assert signer.identity == first
    assert parse_envelope(signer.envelope(STATEMENT)).keyid == signer.keyid != opened("alias/release").keyid


def test_j2_the_region_can_be_told(key: Callable[..., str], environment: Environment, sandbox: Sandbox) -> None:
    arn = key()
    environment(AWS_DEFAULT_REGION="eu-central-1")
    with pytest.raises(SignerError, match="NotFoundException.*Check the key id, the alias, the region"):
        opened(arn.rpartition("/")[2])
    assert opened(arn.rpartition("/")[2], region=str(sandbox.facts["region"])).envelope(STATEMENT)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"}, "A symmetric key cannot sign"),
        ({"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}, "is for ENCRYPT_DECRYPT with RSA_2048"),
        ({"KeySpec": "ECC_SECG_P256K1"}, "is for SIGN_VERIFY with ECC_SECG_P256K1; signing needs"),
        ({"KeySpec": "ECC_NIST_P521"}, "is for SIGN_VERIFY with ECC_NIST_P521; signing needs"),
    ],
)
def test_j2_a_key_that_cannot_sign_evidence_is_refused(
    key: Callable[..., str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SignerError, match=said):
        opened(key(**settings))


def test_j2_a_key_that_cannot_sign_now_is_refused_at_the_start_and_at_the_seal(
    kms: Any, key: Callable[..., str]
) -> None:
    arn = key()
    signer = opened(arn)
    kms.disable_key(KeyId=arn)
    for call in (lambda: signer.envelope(STATEMENT), lambda: opened(arn)):
        with pytest.raises(SignerError, match=f"on {arn} failed: DisabledException.*enable-key"):
            call()
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    for call in (lambda: signer.envelope(STATEMENT), lambda: opened(arn)):
        with pytest.raises(SignerError, match="KMSInvalidStateException.*pending deletion.*give another one"):
            call()
    with pytest.raises(SignerError, match="NotFoundException"):
        opened("alias/nobody")


def test_j2_a_kms_that_cannot_be_reached_is_said(key: Callable[..., str], environment: Environment) -> None:
    arn = key()
    environment(AWS_ENDPOINT_URL="http://127.0.0.1:1")
    with pytest.raises(SignerError, match="GetPublicKey on .* failed: EndpointConnectionError.*can be reached"):
        opened(arn)


def test_j2_only_the_principal_that_may_sign_signs(
    sandbox: Sandbox, key: Callable[..., str], environment: Environment
) -> None:
    """One that may see the key, but not sign, learns it before a run begins; nothing was signed then."""
    arn = key()
    reader, signer = allow("kms:GetPublicKey", resource=arn), allow("kms:GetPublicKey", "kms:Sign", resource=arn)
    with (
        sandbox.switched(iam=True),
        user(sandbox, reader) as seeing,
        role(sandbox, trust({"AWS": seeing.arn}), signer) as release,
        user(sandbox) as stranger,
    ):
        for who, call in ((seeing, "Sign"), (stranger, "GetPublicKey")):
            environment(who.key["AccessKeyId"], who.key["SecretAccessKey"])
            with pytest.raises(SignerError, match=f"KMS {call} on .*AccessDeniedException.*needs kms:GetPublicKey and"):
                opened(arn)
            with refused("AccessDeniedException", status=400):
                who.client("kms").sign(KeyId=arn, **SIGN)
        seeing.put(document(statement("Allow", "kms:GetPublicKey", resource=arn), statement("Allow", "sts:AssumeRole")))
        session = seeing.client("sts").assume_role(RoleArn=release, RoleSessionName="run")["Credentials"]
        environment(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
        allowed = opened(arn)
        assert parse_envelope(allowed.envelope(STATEMENT)).keyid == allowed.keyid
        environment("AKIASTRANGER00000000", "x")
        with pytest.raises(SignerError, match="UnrecognizedClientException|InvalidClientTokenId"):
            opened(arn)


def test_j2_a_permission_taken_away_during_the_run_stops_the_seal(
    sandbox: Sandbox, key: Callable[..., str], environment: Environment
) -> None:
    arn = key()
    with sandbox.switched(iam=True), user(sandbox, allow("kms:GetPublicKey", "kms:Sign", resource=arn)) as runner:
        environment(runner.key["AccessKeyId"], runner.key["SecretAccessKey"])
        signer = opened(arn)
        runner.put(allow("kms:GetPublicKey", resource=arn))
        with pytest.raises(SignerError, match="KMS Sign on .*AccessDeniedException"):
            signer.envelope(STATEMENT)


def test_j2_a_key_is_not_another_accounts(sandbox: Sandbox, key: Callable[..., str], environment: Environment) -> None:
    arn = key()
    environment("500000000099", "test")
    with pytest.raises(SignerError, match="GetPublicKey on .* failed"):
        opened(arn)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_2048"])
def test_j2_a_bundle_sealed_with_kms_says_so_and_verifies_offline(
    key: Callable[..., str], environment: Environment, spec: str, tmp_path: Path
) -> None:
    arn = key(KeySpec=spec)
    signer, bundle = opened(arn), passing_smoke(tmp_path / "bundle")
    seal(bundle, signer, by="run")
    environment(AWS_ENDPOINT_URL="http://127.0.0.1:1")  # KMS is not asked again
    (tmp_path / "key.pub.pem").write_text(signer.public_key)
    keys = load_public_keys([str(tmp_path / "key.pub.pem")])
    said = verify(bundle.folder, keys)
    assert (said["result"], said["verdict"], said["findings"]) == ("ok", "PASSED", [])
    signature = said["signature"]
    assert (signature["class"], signature["trust"], signature["keyid"]) == ("ok", "kms", signer.keyid)
    assert (said["sealed"]["identity"], said["sealed"]["signer"]) == (arn, "kms")
    environment()
    other = opened(key())
    (tmp_path / "key.pub.pem").write_text(other.public_key)
    refused_by_other = verify(bundle.folder, load_public_keys([str(tmp_path / "key.pub.pem")]))
    assert (refused_by_other["result"], refused_by_other["signature"]["class"]) == ("tampered", "wrong-key")


# -- what the local AWS itself says ---------------------------------------------------------------------------------


@pytest.mark.behaviour("kms.a_dry_run_signs_nothing")
def test_a_dry_run_says_whether_a_signature_could_be_had(kms: Any, key: Callable[..., str]) -> None:
    arn = key()
    with refused("DryRunOperationException", "DryRun parameter was specified", 400):
        kms.sign(KeyId=arn, DryRun=True, **SIGN)
    with refused("InvalidKeyUsageException", status=400):
        kms.sign(KeyId=arn, DryRun=True, **{**SIGN, "SigningAlgorithm": "RSASSA_PSS_SHA_256"})
    assert kms.sign(KeyId=arn, DryRun=False, **SIGN)["Signature"]
    kms.disable_key(KeyId=arn)
    with refused("DisabledException", status=400):
        kms.sign(KeyId=arn, DryRun=True, **SIGN)
    with refused("NotFoundException", status=400):
        kms.sign(KeyId="alias/nobody", DryRun=True, **SIGN)


def request_of(call: Callable[..., Any], **parameters: Any) -> str:
    try:
        answer = call(**parameters)
    except ClientError as error:
        answer = error.response
    return str(answer["ResponseMetadata"]["RequestId"])


@pytest.fixture
def account(sandbox: Sandbox) -> Iterator[Account]:
    with sandbox.switched(lookup_events_rate=0.0):
        yield Account(sandbox, "500000000017")


def recorded(account: Account, request_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        records = (json.loads(event["CloudTrailEvent"]) for event in account.events())
        return next((record for record in records if record["requestID"] == request_id), None)

    found = until(look, f"the record of {request_id}")
    assert found is not None
    return found


@pytest.mark.behaviour("cloudtrail.kms_shows_no_data", "cloudtrail.kms_key")
def test_cloudtrail_names_the_key_and_shows_neither_message_nor_signature(account: Account) -> None:
    kms = account.client("kms")
    made = kms.create_key(**SIGNING)["KeyMetadata"]
    kms.create_alias(AliasName="alias/recorded", TargetKeyId=made["KeyId"])
    resources = [{"accountId": account.number, "type": "AWS::KMS::Key", "ARN": made["Arn"]}]
    for name in ("alias/recorded", made["KeyId"], made["Arn"]):
        signed = recorded(account, request_of(kms.sign, KeyId=name, **SIGN))
        assert signed["requestParameters"] == {
            "keyId": name,
            "messageType": "DIGEST",
            "signingAlgorithm": "ECDSA_SHA_256",
        }
        assert (signed["responseElements"], signed["readOnly"], signed["resources"]) == (None, True, resources)
        public = recorded(account, request_of(kms.get_public_key, KeyId=name))
        assert (public["eventName"], public["requestParameters"]) == ("GetPublicKey", {"keyId": name})
        assert (public["responseElements"], public["readOnly"], public["resources"]) == (None, True, resources)
    refusal = recorded(account, request_of(kms.sign, KeyId="alias/recorded", DryRun=True, **SIGN))
    assert (refusal["errorCode"], refusal["responseElements"]) == ("DryRunOperationException", None)
    kms.delete_alias(AliasName="alias/recorded")
    kms.schedule_key_deletion(KeyId=made["KeyId"], PendingWindowInDays=7)
