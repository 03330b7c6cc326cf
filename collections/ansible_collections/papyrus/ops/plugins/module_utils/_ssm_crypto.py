# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encryption of a session's data with a data key from KMS, which the agent and the client share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    CRYPTOGRAPHY_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    CRYPTOGRAPHY_IMPORT_ERROR = exc

DATA_KEY_BYTES = 64
"""Of the data key the first half is the agent's (it encrypts with it), the second the client's:
https://github.com/aws/session-manager-plugin, src/encryption."""

_NONCE_BYTES = 12
_TAG_BYTES = 16


class EncryptionFailure(Exception):
    """The session cannot be encrypted, or what arrived cannot be decrypted; the text says why."""


@dataclass(frozen=True)
class DataKey:
    """GenerateDataKey's answer; `plaintext` is secret."""

    plaintext: bytes = field(repr=False)
    encrypted: bytes = field(repr=False)


KeyMaker = Callable[[str, dict[str, str]], DataKey]
"""KMS key id and encryption context → a fresh data key. EncryptionFailure says why there is none."""


class Cipher:
    """AES-256-GCM as the Session Manager uses it: twelve bytes of nonce, then ciphertext and tag."""

    def __init__(self, key: DataKey, random: Callable[[int], bytes] = os.urandom) -> None:
        if CRYPTOGRAPHY_IMPORT_ERROR is not None:
            raise EncryptionFailure(
                "the session is to be encrypted with a KMS key, and the Python package cryptography is not installed"
            ) from CRYPTOGRAPHY_IMPORT_ERROR
        if len(key.plaintext) != DATA_KEY_BYTES:
            raise EncryptionFailure(f"KMS gave a data key of {len(key.plaintext)} bytes instead of {DATA_KEY_BYTES}")
        half = DATA_KEY_BYTES // 2
        self._incoming = AESGCM(key.plaintext[:half])
        self._outgoing = AESGCM(key.plaintext[half:])
        self._random = random

    def encrypt(self, data: bytes) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._outgoing.encrypt(nonce, data, None)

    def decrypt(self, data: bytes) -> bytes:
        if len(data) < _NONCE_BYTES + _TAG_BYTES:
            raise EncryptionFailure(f"{len(data)} bytes are too few for an encrypted message")
        try:
            return self._incoming.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None)
        except InvalidTag as exc:
            raise EncryptionFailure("a message of the session was not encrypted with the session's key") from exc
