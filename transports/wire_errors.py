"""How an error crosses a link: raised here as a NanoError, sent as ``Refused``, raised again there as the same class.

Invariant: code, message, hint and context arrive unchanged. An error that is not a NanoError is a defect; it is
logged where it happened and travels as ``internal`` without its text, which might hold what the other end must not see.
"""

import logging
from typing import Final

from nano.domain import errors
from nano.domain.errors import NanoError
from nano.transports.messages import Refused

logger = logging.getLogger("nano.transports")

_CLASSES: Final = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, NanoError)
}
_RESERVED: Final = frozenset({"self", "message", "code", "hint"})


def to_refused(error: BaseException, *, doing: str) -> Refused:
    """``doing`` names the exchange in the log line of a defect."""
    if isinstance(error, NanoError):
        known = next(kind.__name__ for kind in type(error).__mro__ if _CLASSES.get(kind.__name__) is kind)
        return Refused(kind=known, code=error.code, message=error.message, hint=error.hint, context=dict(error.context))
    logger.error("exchange failed doing=%s error=%s", doing, type(error).__name__, exc_info=error)
    return Refused(
        kind="NanoError",
        code="internal",
        message="The other node failed unexpectedly.",
        hint="Its log says why.",
    )


def to_error(refused: Refused) -> NanoError:
    """The error to raise. A class this version does not know becomes a plain NanoError with the same code."""
    context = {key: value for key, value in refused.context.items() if key not in _RESERVED}
    return _CLASSES.get(refused.kind, NanoError)(refused.message, code=refused.code, hint=refused.hint, **context)
