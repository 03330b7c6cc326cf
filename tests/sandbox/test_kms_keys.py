"""KMS of the sandbox: what its keys do, and what they refuse in which state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tests.sandbox.support import Sandbox, refused

UNKNOWN = "00000000-0000-4000-8000-000000000000"
Make = Callable[..., str]
SIGNING: dict[str, Any] = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
SIGN: dict[str, Any] = {"Message": b"sealed", "SigningAlgorithm": "ECDSA_SHA_256"}


@pytest.fixture
def kms(sandbox: Sandbox) -> Any:
    return sandbox.client("kms")


@pytest.fixture
def key(kms: Any) -> Iterator[Make]:
    """Makes keys, which are on their way out after the test."""
    made: list[str] = []

    def make(**settings: Any) -> str:
        made.append(kms.create_key(**settings)["KeyMetadata"]["KeyId"])
        return made[-1]

    yield make
    for one in made:
        for alias in kms.list_aliases(KeyId=one)["Aliases"]:
            kms.delete_alias(AliasName=alias["AliasName"])
        if kms.describe_key(KeyId=one)["KeyMetadata"]["KeyState"] != "PendingDeletion":
            kms.schedule_key_deletion(KeyId=one, PendingWindowInDays=7)


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("RSA_2048", "RSASSA_PSS_SHA_256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ],
)
def test_a_signature_holds_for_its_message_alone_with_kms_and_without(
    kms: Any, key: Make, spec: str, algorithm: str
) -> None:
    made = key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
    call = {"KeyId": made, "SigningAlgorithm": algorithm, "MessageType": "RAW"}
    signature = kms.sign(Message=b"sealed", **call)["Signature"]
    assert kms.verify(Message=b"sealed", Signature=signature, **call)["SignatureValid"]
    with refused("KMSInvalidSignatureException", status=400):
        kms.verify(Message=b"opened", Signature=signature, **call)
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=made)["PublicKey"])
    if isinstance(public, ec.EllipticCurvePublicKey):
        public.verify(signature, b"sealed", ec.ECDSA(hashes.SHA256()))
    elif isinstance(public, rsa.RSAPublicKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
        public.verify(signature, b"sealed", pss, hashes.SHA256())
    else:
        assert isinstance(public, ed25519.Ed25519PublicKey)
        public.verify(signature, b"sealed")


def test_what_does_not_exist_is_not_found(kms: Any) -> None:
    for call in (kms.describe_key, kms.get_public_key, kms.schedule_key_deletion, kms.disable_key):
        with refused("NotFoundException", status=400):
            call(KeyId=UNKNOWN)
    with refused("NotFoundException"):
        kms.describe_key(KeyId="alias/nobody")
    with refused("NotFoundException"):
        kms.delete_alias(AliasName="alias/nobody")
    with refused("NotFoundException"):
        kms.create_alias(AliasName="alias/lost", TargetKeyId=UNKNOWN)


@pytest.mark.behaviour("kms.aliases_of_a_key_that_exists")
def test_aliases_of_an_unknown_key_are_an_error(kms: Any) -> None:
    with refused("NotFoundException"):
        kms.list_aliases(KeyId=UNKNOWN)


def test_an_alias_stands_for_its_key_and_exists_once(kms: Any, key: Make) -> None:
    first, second = key(**SIGNING), key(**SIGNING)
    kms.create_alias(AliasName="alias/seal", TargetKeyId=first)
    with refused("AlreadyExistsException", status=400):
        kms.create_alias(AliasName="alias/seal", TargetKeyId=second)
    assert kms.sign(KeyId="alias/seal", **SIGN)["KeyId"].endswith(first)
    kms.update_alias(AliasName="alias/seal", TargetKeyId=second)
    assert kms.describe_key(KeyId="alias/seal")["KeyMetadata"]["KeyId"] == second


def test_a_disabled_key_neither_signs_nor_encrypts(kms: Any, key: Make) -> None:
    signing, symmetric = key(**SIGNING), key()
    for one in (signing, symmetric):
        kms.disable_key(KeyId=one)
    with refused("DisabledException", "is disabled", 400):
        kms.sign(KeyId=signing, **SIGN)
    with refused("DisabledException"):
        kms.encrypt(KeyId=symmetric, Plaintext=b"x")
    kms.enable_key(KeyId=signing)
    assert kms.sign(KeyId=signing, **SIGN)["Signature"]


def test_a_key_pending_deletion_does_not_sign_until_it_is_kept_and_enabled(kms: Any, key: Make) -> None:
    made = key(**SIGNING)
    kms.schedule_key_deletion(KeyId=made, PendingWindowInDays=7)
    with refused("KMSInvalidStateException", "is pending deletion", 400):
        kms.sign(KeyId=made, **SIGN)
    kms.cancel_key_deletion(KeyId=made)
    assert kms.describe_key(KeyId=made)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.enable_key(KeyId=made)
    assert kms.sign(KeyId=made, **SIGN)["Signature"]


@pytest.mark.behaviour("kms.a_key_that_goes_is_left_alone")
@pytest.mark.parametrize(
    ("call", "more"),
    [
        ("schedule_key_deletion", {}),
        ("enable_key", {}),
        ("disable_key", {}),
        ("enable_key_rotation", {}),
        ("disable_key_rotation", {}),
        ("update_key_description", {"Description": "x"}),
        ("tag_resource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("untag_resource", {"TagKeys": ["a"]}),
    ],
)
def test_a_key_pending_deletion_cannot_be_changed(kms: Any, key: Make, call: str, more: dict[str, Any]) -> None:
    made = key()
    kms.schedule_key_deletion(KeyId=made, PendingWindowInDays=7)
    with refused("KMSInvalidStateException", "is pending deletion", 400):
        getattr(kms, call)(KeyId=made, **more)


@pytest.mark.behaviour("kms.only_a_scheduled_deletion_is_cancelled")
def test_what_is_not_pending_deletion_cannot_be_kept(kms: Any, key: Make) -> None:
    with refused("KMSInvalidStateException", "is not pending deletion", 400):
        kms.cancel_key_deletion(KeyId=key())


@pytest.mark.behaviour("kms.no_alias_for_a_key_that_goes")
def test_a_key_pending_deletion_gets_no_alias(kms: Any, key: Make) -> None:
    going, staying = key(), key()
    kms.create_alias(AliasName="alias/staying", TargetKeyId=staying)
    kms.schedule_key_deletion(KeyId=going, PendingWindowInDays=7)
    with refused("KMSInvalidStateException", "is pending deletion"):
        kms.create_alias(AliasName="alias/going", TargetKeyId=going)
    with refused("KMSInvalidStateException", "is pending deletion"):
        kms.update_alias(AliasName="alias/staying", TargetKeyId=going)


@pytest.mark.behaviour("kms.public_key_needs_an_enabled_key")
def test_the_public_key_is_given_by_enabled_keys_only(kms: Any, key: Make) -> None:
    made = key(**SIGNING)
    kms.disable_key(KeyId=made)
    with refused("DisabledException", status=400):
        kms.get_public_key(KeyId=made)
    kms.schedule_key_deletion(KeyId=made, PendingWindowInDays=7)
    with refused("KMSInvalidStateException", status=400):
        kms.get_public_key(KeyId=made)


@pytest.mark.behaviour("kms.rotation_needs_an_enabled_key")
def test_rotation_of_a_disabled_key_is_refused(kms: Any, key: Make) -> None:
    made = key()
    kms.disable_key(KeyId=made)
    with refused("DisabledException", status=400):
        kms.enable_key_rotation(KeyId=made)


@pytest.mark.behaviour("kms.only_symmetric_keys_rotate")
def test_signing_keys_do_not_rotate(kms: Any, key: Make) -> None:
    made = key(**SIGNING)
    with refused("UnsupportedOperationException", status=400):
        kms.enable_key_rotation(KeyId=made)
    assert kms.get_key_rotation_status(KeyId=made)["KeyRotationEnabled"] is False
    symmetric = key()
    kms.enable_key_rotation(KeyId=symmetric)
    assert kms.get_key_rotation_status(KeyId=symmetric)["KeyRotationEnabled"]


@pytest.mark.behaviour("kms.a_key_is_used_for_what_it_was_made")
def test_keys_do_what_they_were_made_for(kms: Any, key: Make) -> None:
    symmetric, signing = key(), key(**SIGNING)
    with refused("InvalidKeyUsageException", "key usage is ENCRYPT_DECRYPT which is not valid for Sign", 400):
        kms.sign(KeyId=symmetric, **SIGN)
    with refused("InvalidKeyUsageException", "not valid for Encrypt"):
        kms.encrypt(KeyId=signing, Plaintext=b"x")
    with refused("InvalidKeyUsageException", "not valid for GenerateDataKey"):
        kms.generate_data_key(KeyId=signing, KeySpec="AES_256")


def test_an_algorithm_of_another_kind_of_key_is_refused(kms: Any, key: Make) -> None:
    with refused("InvalidKeyUsageException", status=400):
        kms.sign(KeyId=key(**SIGNING), Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256")


@pytest.mark.behaviour("kms.usage_fits_the_key_spec")
def test_a_curve_is_for_signing(kms: Any) -> None:
    with refused("ValidationException", "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec ECC_NIST_P256"):
        kms.create_key(KeySpec="ECC_NIST_P256")


@pytest.mark.behaviour("kms.an_alias_moves_between_keys_of_one_kind")
def test_an_alias_does_not_change_its_kind_of_key(kms: Any, key: Make) -> None:
    kms.create_alias(AliasName="alias/kind", TargetKeyId=key())
    with refused("ValidationException", status=400):
        kms.update_alias(AliasName="alias/kind", TargetKeyId=key(**SIGNING))


@pytest.mark.behaviour("kms.an_alias_names_a_key", "kms.aliases_of_aws_are_reserved")
def test_aliases_have_names_of_ones_own_and_keys_as_targets(kms: Any, key: Make) -> None:
    made = key()
    with refused("NotAuthorizedException", status=400):
        kms.create_alias(AliasName="alias/aws/mine", TargetKeyId=made)
    kms.create_alias(AliasName="alias/direct", TargetKeyId=made)
    with refused("ValidationException", "Aliases must refer to keys"):
        kms.create_alias(AliasName="alias/indirect", TargetKeyId="alias/direct")


@pytest.mark.behaviour("kms.a_key_policy_is_a_policy")
def test_a_key_policy_has_statements(kms: Any, key: Make) -> None:
    made = key()
    for text in ("nothing", json.dumps({"Version": "2012-10-17"})):
        with refused("MalformedPolicyDocumentException", status=400):
            kms.put_key_policy(KeyId=made, PolicyName="default", Policy=text)


def test_what_was_encrypted_is_decrypted_with_the_same_context_only(kms: Any, key: Make) -> None:
    context = {"run": "1"}
    blob = kms.encrypt(KeyId=key(), Plaintext=b"hidden", EncryptionContext=context)["CiphertextBlob"]
    assert b"hidden" not in blob
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"hidden"
    with refused("InvalidCiphertextException", status=400):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext={"run": "2"})


def test_data_keys_are_decrypted(kms: Any, key: Make) -> None:
    made = key()
    data_key = kms.generate_data_key(KeyId=made, KeySpec="AES_256")
    assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
    pair = kms.generate_data_key_pair(KeyId=made, KeyPairSpec="ECC_NIST_P256")
    assert kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"] == pair["PrivateKeyPlaintext"]


@pytest.mark.behaviour("kms.incorrect_key")
def test_another_key_does_not_open_a_ciphertext(kms: Any, key: Make) -> None:
    blob = kms.encrypt(KeyId=key(), Plaintext=b"hidden")["CiphertextBlob"]
    with refused("IncorrectKeyException", status=400):
        kms.decrypt(CiphertextBlob=blob, KeyId=key())


@pytest.mark.behaviour("kms.altered_ciphertext")
@pytest.mark.parametrize("place", [-1, -40, 50])
def test_a_ciphertext_with_one_bit_changed_is_refused(kms: Any, key: Make, place: int) -> None:
    blob = bytearray(kms.encrypt(KeyId=key(), Plaintext=b"hidden")["CiphertextBlob"])
    blob[place] ^= 1
    with refused("InvalidCiphertextException", status=400):
        kms.decrypt(CiphertextBlob=bytes(blob))


@pytest.mark.behaviour("kms.lists_come_in_pages")
def test_keys_and_aliases_come_in_pages(kms: Any, key: Make) -> None:
    made = [key() for _ in range(3)]
    for number, one in enumerate(made):
        kms.create_alias(AliasName=f"alias/page-{number}", TargetKeyId=one)
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    found = [entry["KeyId"] for page in pages for entry in page["Keys"]]
    assert set(made) <= set(found)
    assert len(found) == len(set(found))
    assert all(len(page["Keys"]) <= 2 for page in pages)
    aliases = [
        alias["AliasName"]
        for page in kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 1})
        for alias in page["Aliases"]
    ]
    assert {f"alias/page-{number}" for number in range(3)} <= set(aliases)
    with refused("InvalidMarkerException", status=400):
        kms.list_keys(Marker="nobody-gave-this-out")


@pytest.mark.behaviour("kms.a_dying_key_does_not_rotate")
def test_a_key_pending_deletion_does_not_rotate_until_it_is_kept(kms: Any, key: Make) -> None:
    one = key()
    kms.enable_key_rotation(KeyId=one)
    kms.schedule_key_deletion(KeyId=one, PendingWindowInDays=7)
    dying = kms.get_key_rotation_status(KeyId=one)["KeyRotationEnabled"]
    kms.cancel_key_deletion(KeyId=one)
    assert (dying, kms.get_key_rotation_status(KeyId=one)["KeyRotationEnabled"]) == (False, True)
