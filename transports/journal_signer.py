"""JournalSigner: signs the seals of a node's journal with the node's own key (ECDSA P-256, SHA-256, DER)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nano.transports.identity import NodeIdentity


class JournalSigner:
    """``key_id`` is the node's fingerprint: the public key is in its certificate."""

    def __init__(self, identity: NodeIdentity) -> None:
        self.key_id = identity.fingerprint
        self._key = identity.key

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def is_signed(self, signature: bytes, data: bytes) -> bool:
        try:
            self._key.public_key().verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True
