"""KMS on ministack: ciphertexts that are authenticated, and lists that come in pages."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox import emulator, pages
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Data = dict[str, Any]
Handler = Callable[[Data], Any]
# The emulator's ciphertext: id of the key, hash of the context, nonce, data. A seal of ours ends it.
ID_LENGTH = 36
SEAL_LENGTH = 32
ENCRYPTING = (
    "_encrypt",
    "_generate_data_key",
    "_generate_data_key_without_plaintext",
    "_generate_data_key_pair",
    "_generate_data_key_pair_without_plaintext",
)
CIPHERTEXTS = {"CiphertextBlob", "PrivateKeyCiphertextBlob"}


def install(runtime: Runtime) -> None:
    kms = emulator.service("kms")
    for name in ENCRYPTING:
        setattr(kms, name, _sealing(kms, getattr(kms, name)))
    rotation = kms._get_key_rotation_status
    kms._get_key_rotation_status = lambda data: _rotation(kms, data, rotation)
    decrypt, list_keys, list_aliases = kms._decrypt, kms._list_keys, kms._list_aliases
    kms._decrypt = lambda data: _decrypt(kms, data, decrypt)
    kms._list_keys = lambda data: lists_come_in_pages(data, list_keys, "Keys")
    kms._list_aliases = lambda data: lists_come_in_pages(data, list_aliases, "Aliases")


def _rotation(kms: Any, data: Data, status: Handler) -> Any:
    response, key = status(data), kms._resolve_key(data.get("KeyId", ""))
    if response[0] != 200 or not a_dying_key_does_not_rotate(key):
        return response
    return emulator.json_response({**emulator.body_of(response), "KeyRotationEnabled": False})


@behaviour("kms", otherwise=lambda key: False)
def a_dying_key_does_not_rotate(key: Data) -> bool:
    """While a key is pending deletion its rotation status is false; it is what it was when the deletion is cancelled.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyRotationStatus.html
    """
    return key.get("KeyState") == "PendingDeletion"


def _sealing(kms: Any, encrypt: Handler) -> Handler:
    """The handler, with a seal at the end of each ciphertext of a symmetric key."""

    def call(data: Data) -> Any:
        response = encrypt(data)
        key = kms._resolve_key(data.get("KeyId", ""))
        if response[0] != 200 or "_symmetric_key" not in key:
            return response
        document = emulator.body_of(response)
        for member in CIPHERTEXTS & set(document):
            ciphertext = base64.b64decode(document[member])
            document[member] = base64.b64encode(ciphertext + _seal(key, ciphertext)).decode()
        return emulator.json_response(document)

    return call


def _seal(key: Data, ciphertext: bytes) -> bytes:
    return hmac.new(key["_symmetric_key"], b"seal:" + ciphertext, hashlib.sha256).digest()


def _decrypt(kms: Any, data: Data, decrypt: Handler) -> Any:
    """Checks whose ciphertext it is and its seal before the emulator opens it."""
    ciphertext = base64.b64decode(data.get("CiphertextBlob", ""))
    made_with = kms._resolve_key(ciphertext[:ID_LENGTH].decode("ascii", "replace"))
    if made_with is None or "_symmetric_key" not in made_with:
        return decrypt(data)
    named = kms._resolve_key(data["KeyId"]) if data.get("KeyId") else None
    sealed = ciphertext[:-SEAL_LENGTH]
    refusal = incorrect_key(named, made_with) or altered_ciphertext(made_with, sealed, ciphertext)
    return refusal or decrypt({**data, "CiphertextBlob": base64.b64encode(sealed).decode()})


@behaviour("kms", code="IncorrectKeyException")
def incorrect_key(named: Data | None, made_with: Data) -> Any:
    """A ciphertext is not opened by another key than the one that it was made with.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html (IncorrectKeyException)
    """
    if named is None or named is made_with:
        return None
    text = "The key ID in the request does not identify a CMK that can perform this operation."
    return emulator.json_error("IncorrectKeyException", text)


@behaviour("kms", code="InvalidCiphertextException")
def altered_ciphertext(key: Data, sealed: bytes, ciphertext: bytes) -> Any:
    """A ciphertext of which a bit was changed is not decrypted.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html (InvalidCiphertextException)
    """
    if hmac.compare_digest(_seal(key, sealed), ciphertext[-SEAL_LENGTH:]):
        return None
    return emulator.json_error("InvalidCiphertextException", "")


@behaviour("kms", code="InvalidMarkerException", otherwise=lambda data, listed, member: listed(data))
def lists_come_in_pages(data: Data, listed: Handler, member: str) -> Any:
    """ListKeys and ListAliases come in pages of Limit (100 without it), each with the marker of the next.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_ListKeys.html
    """
    response = listed({key: value for key, value in data.items() if key != "Limit"} | {"Limit": 1_000_000})
    if response[0] != 200:
        return response
    entries, limit, start = emulator.body_of(response)[member], int(data.get("Limit") or 100), 0
    if marker := data.get("Marker"):
        names = [_name(entry) for entry in entries]
        try:
            start = names.index(pages.place_of(member, marker)) + 1
        except ValueError:
            return emulator.json_error("InvalidMarkerException", "Invalid marker.")
    page = entries[start : start + limit]
    document: Data = {member: page, "Truncated": start + limit < len(entries)}
    if document["Truncated"]:
        document["NextMarker"] = pages.token_of(member, _name(page[-1]))
    return emulator.json_response(document)


def _name(entry: Data) -> str:
    return str(entry.get("AliasArn") or entry["KeyId"])
