"""Sealing: secrets that a journal has to keep are written so that only the node's own key opens them again.

The key is a file (``config/secrets.key``) outside the journal: a copy of the journal, or a backup of it, holds nothing that
opens without it. Encryption is AES-256-GCM. The same content sealed again for the same command gives the same text (the nonce
comes from key, command id and content), so an idempotency key still recognises it.
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nano.domain.errors import Failure, JournalError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FORM: Final = "v1:"


class SealingKey:
    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._key = key

    def seal(self, plain: bytes, command_id: str, purpose: bytes) -> str:
        nonce = self.derived(b"nonce", command_id, plain)[:NONCE_BYTES]
        return FORM + base64.b64encode(nonce + AESGCM(self._key).encrypt(nonce, plain, purpose)).decode()

    def open(self, sealed: str, purpose: bytes) -> bytes:
        """Raises Failure when it was sealed with another key, or for another purpose."""
        try:
            raw = base64.b64decode(sealed.removeprefix(FORM))
            return AESGCM(self._key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose)
        except (InvalidTag, ValueError):
            raise Failure(
                "The guest's secrets were encrypted with another key.",
                code="secrets_key_changed",
                hint="Put config/secrets.key of this node back, or give the guest new ones.",
            ) from None

    def derived(self, what: bytes, command_id: str, content: bytes) -> bytes:
        """32 bytes that nobody without the key can tell."""
        name = command_id.encode()
        return hmac.new(self._key, what + len(name).to_bytes(4, "big") + name + content, hashlib.sha256).digest()


def open_key(path: Path) -> SealingKey:
    """The key in this file, which is made when it is absent. Raises JournalError when it is not a key."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = os.urandom(KEY_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    if len(key) != KEY_BYTES:
        raise JournalError(
            f"{path} is not a key of {KEY_BYTES} bytes.", code="secrets_key_damaged", hint="Put the right file back."
        )
    return SealingKey(key)
