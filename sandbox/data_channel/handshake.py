"""What the agent asks of a client before it starts the command: the session's type, and encryption by a KMS key.

https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/datachannel/datachannel.go (PerformHandshake). An
agent of ECS Exec asks for it only when the cluster's executeCommandConfiguration has a kmsKeyId (singlecommand.go).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sandbox.data_channel import messages
from sandbox.data_channel.messages import MalformedMessage, Message

AGENT_VERSION = "3.3.1611.0"
SESSION_TYPE = "InteractiveCommands"
NONCE, KEY, CHALLENGE = 12, 32, 64
SUCCESS = 1
# (ciphertext of the data key) → its plain bytes. Raises HandshakeFailed.
Unwrap = Callable[[bytes], bytes]


class HandshakeFailed(Exception):
    """The message is the agent's; the session ends by it."""


class Cipher:
    """The agent writes by the first half of the data key and reads by the second."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._out, self._in = AESGCM(key[:KEY]), AESGCM(key[KEY:])

    def encrypt(self, data: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._out.encrypt(nonce, data, None)

    def decrypt(self, data: bytes) -> bytes:
        """Raises MalformedMessage."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._in.decrypt(data[:NONCE], data[NONCE:], None)
        except (InvalidTag, ValueError) as error:
            raise MalformedMessage("not encrypted by the session's key") from error


@dataclass
class Handshake:
    """`stream` sends a payload of a type to the client. Without a `key` only the session's type is told."""

    stream: Callable[[int, bytes], Awaitable[None]]
    key: str
    unwrap: Unwrap
    seconds: float

    def __post_init__(self) -> None:
        self._answers: asyncio.Queue[Message] = asyncio.Queue()

    def answer(self, message: Message) -> None:
        """An answer of the client has come."""
        self._answers.put_nowait(message)

    async def perform(self) -> Cipher | None:
        """Raises HandshakeFailed."""
        begun = time.monotonic_ns()
        kind = {"SessionType": SESSION_TYPE, "Properties": None}
        actions: list[dict[str, Any]] = [{"ActionType": "SessionType", "ActionParameters": kind}]
        if self.key:
            actions.append({"ActionType": "KMSEncryption", "ActionParameters": {"KMSKeyId": self.key}})
        request = {"AgentVersion": AGENT_VERSION, "RequestedClientActions": actions}
        await self.stream(messages.HANDSHAKE_REQUEST, json.dumps(request).encode())
        late = "Handshake timed out. Please ensure that you have the latest version of the session manager plugin."
        cipher = self._agreed((await self._next(messages.HANDSHAKE_RESPONSE, late)).document())
        if cipher is not None:
            await self._challenge(cipher)
        told = {
            "HandshakeTimeToComplete": time.monotonic_ns() - begun,
            "CustomerMessage": "This session is encrypted using AWS KMS." if cipher else "",
        }
        await self.stream(messages.HANDSHAKE_COMPLETE, json.dumps(told).encode())
        return cipher

    async def _next(self, payload_type: int, late: str) -> Message:
        try:
            async with asyncio.timeout(self.seconds):
                while (message := await self._answers.get()).payload_type != payload_type:
                    pass
        except TimeoutError:
            raise HandshakeFailed(late) from None
        return message

    def _agreed(self, response: dict[str, Any]) -> Cipher | None:
        cipher = None
        for action in response.get("ProcessedClientActions") or []:
            if not isinstance(action, dict):
                raise HandshakeFailed("HandshakeResponse is not understood")
            name, status = action.get("ActionType"), action.get("ActionStatus")
            if status != SUCCESS:
                raise HandshakeFailed(f"{name} failed on client with status {status} error: {action.get('Error', '')}")
            if name == "KMSEncryption":
                result = action.get("ActionResult")
                text = str(result.get("KMSCipherTextKey") or "") if isinstance(result, dict) else ""
                try:
                    wrapped = base64.b64decode(text, validate=True)
                except (binascii.Error, ValueError) as error:
                    raise HandshakeFailed(f"Fetching data key failed: {error}") from error
                cipher = Cipher(self.unwrap(wrapped))
        if self.key and cipher is None:
            raise HandshakeFailed("KMSEncryption was not processed by the client")
        return cipher

    async def _challenge(self, cipher: Cipher) -> None:
        secret = os.urandom(CHALLENGE)
        challenge = {"Challenge": base64.b64encode(cipher.encrypt(secret)).decode()}
        await self.stream(messages.CHALLENGE_REQUEST, json.dumps(challenge).encode())
        answer = await self._next(messages.CHALLENGE_RESPONSE, "Timed out waiting for encryption challenge.")
        try:
            given = cipher.decrypt(base64.b64decode(str(answer.document().get("Challenge") or "")))
        except (MalformedMessage, ValueError) as error:
            raise HandshakeFailed(f"Error decrypting encrypted text, {error}") from error
        if given != secret:
            raise HandshakeFailed("Encryption challenge does not match!")
