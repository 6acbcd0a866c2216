"""How many wrong secrets an account or an address gets before it must wait."""

from nano.domain.throttle import KEYS_MAX, Throttle


def test_the_throttle_counts_within_its_window_and_forgives() -> None:
    throttle = Throttle({"account": 3, "address": 5}, 60)
    for second in range(3):
        assert throttle.wait_s(second, account="ada", address="::1") == 0
        throttle.failed(second, account="ada", address="::1")
    assert throttle.wait_s(3, account="ada") == 57
    assert throttle.wait_s(3, account="bob", address="::1") == 0
    assert throttle.wait_s(61, account="ada") == 0
    throttle.forgive("account", "ada")
    assert throttle.wait_s(3, account="ada") == 0


def test_the_throttle_does_not_grow_for_ever() -> None:
    throttle = Throttle({"account": 1}, 60)
    for number in range(KEYS_MAX + 10):
        throttle.failed(0, account=str(number))
    assert throttle.wait_s(1, account="0") == 0
    assert throttle.wait_s(1, account=str(KEYS_MAX)) == 59
