"""One plain error out of a task group's ExceptionGroup, for callers that asked one thing and want one answer.

Invariant: a group is taken apart only when nothing is lost by it: it holds a single error, or all its errors are
NanoErrors of the same failed attempt (both ends of a refusal); then the first is raised.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nano.domain.errors import NanoError


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@contextmanager
def plain_errors() -> Iterator[None]:
    try:
        yield
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        if len(errors) == 1 or all(isinstance(error, NanoError) for error in errors):
            raise errors[0] from errors[0].__cause__
        raise
