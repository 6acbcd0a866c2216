"""Used signatures are known as long as their dates count, in bounded memory."""

import hashlib

import pytest

from nano.domain.errors import Failure, Unauthenticated
from nano.http.replay_memory import BUCKET_S, ReplayMemory

NOW = 1_800_000_000.0


def mark(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).hexdigest().encode()


def test_once_only() -> None:
    memory = ReplayMemory(300)
    memory.admit(mark(1), NOW, NOW)
    with pytest.raises(Unauthenticated) as refused:
        memory.admit(mark(1), NOW, NOW + 299)
    assert refused.value.code == "signature_replayed"


def test_what_has_expired_is_forgotten() -> None:
    memory = ReplayMemory(300)
    for number in range(100):
        memory.admit(mark(number), NOW + number, NOW + number)
    memory.admit(mark(1000), NOW + 1000, NOW + 1000)
    assert len(memory) == 1


def test_full_memory_narrows_the_window_instead_of_forgetting() -> None:
    memory = ReplayMemory(300, remembered_max=10)
    for number in range(10):
        memory.admit(mark(number), NOW + number * BUCKET_S, NOW + 40)
    memory.admit(mark(10), NOW + 40, NOW + 40)
    assert len(memory) == 10
    with pytest.raises(Unauthenticated) as refused:
        memory.admit(mark(0), NOW, NOW + 40)
    assert refused.value.code == "signature_expired"


def test_full_of_fresh_ones_refuses() -> None:
    memory = ReplayMemory(300, remembered_max=3)
    for number in range(3):
        memory.admit(mark(number), NOW, NOW)
    with pytest.raises(Failure) as refused:
        memory.admit(mark(3), NOW, NOW)
    assert refused.value.code == "too_many_requests"
    assert len(memory) == 3
