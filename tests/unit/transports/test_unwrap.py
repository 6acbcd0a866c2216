"""A group is taken apart only when nothing is lost by it."""

import pytest

from nano.domain.errors import Forbidden, Unreachable
from nano.transports.unwrap import plain_errors


def test_a_single_error_comes_out_of_any_depth() -> None:
    with pytest.raises(KeyError), plain_errors():
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("x")])])


def test_refusals_of_one_attempt_give_the_first() -> None:
    with pytest.raises(Forbidden), plain_errors():
        raise ExceptionGroup("both ends", [Forbidden("no"), Unreachable("gone")])


def test_different_failures_stay_together() -> None:
    with pytest.raises(ExceptionGroup) as caught, plain_errors():
        raise ExceptionGroup("two", [Forbidden("no"), KeyError("x")])
    assert len(caught.value.exceptions) == 2


def test_what_is_no_group_passes() -> None:
    with pytest.raises(KeyError), plain_errors():
        raise KeyError("x")
