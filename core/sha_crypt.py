"""SHA-512-crypt, as /etc/shadow has it: ``$6$salt$hash``. Python's own ``crypt`` is deprecated and gone in 3.13.

After Ulrich Drepper's specification "Unix crypt using SHA-256 and SHA-512" (akkadia.org/drepper/SHA-crypt.txt), with its
default of 5000 rounds; the specification's vectors are the tests'.
"""

import hashlib
from typing import Final

ALPHABET: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROUNDS: Final = 5000


def sha512_crypt(password: str, salt: str) -> str:
    """``salt``: up to 16 letters of ALPHABET."""
    key, salted = password.encode(), salt.encode()
    size = len(key)
    inner = hashlib.sha512(key + salted + key).digest()
    first = hashlib.sha512(key + salted + _repeated(inner, size))
    bits = size
    while bits:
        first.update(inner if bits & 1 else key)
        bits >>= 1
    digest = first.digest()
    word = _repeated(hashlib.sha512(key * size).digest(), size)
    spice = _repeated(hashlib.sha512(salted * (16 + digest[0])).digest(), len(salted))
    for turn in range(ROUNDS):
        mixed = word if turn & 1 else digest
        if turn % 3:
            mixed += spice
        if turn % 7:
            mixed += word
        mixed += digest if turn & 1 else word
        digest = hashlib.sha512(mixed).digest()
    return f"$6${salt}${_told(digest)}"


def _repeated(value: bytes, length: int) -> bytes:
    return (value * (length // len(value) + 1))[:length]


def _told(digest: bytes) -> str:
    """Three bytes become four letters, in an order of their own."""
    a, b, c = 0, 21, 42
    text = ""
    for _ in range(21):
        text += _letters((digest[a] << 16) | (digest[b] << 8) | digest[c], 4)
        a, b, c = b + 1, c + 1, a + 1
    return text + _letters(digest[63], 2)


def _letters(value: int, count: int) -> str:
    return "".join(ALPHABET[(value >> (6 * place)) & 63] for place in range(count))
