"""Reading a node's TOML settings into typed structs, and the text of the defaults. Pure: files are the caller's business."""

import tomllib
from typing import Annotated, Final, TypeVar

import msgspec

from nano.domain.errors import Invalid

T = TypeVar("T")


class DomainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The domain triple by which nodes find each other, and addresses to ask where multicast does not reach."""

    name: str = "nano"
    group: str = "224.0.0.226"
    port: int = 5599
    addresses: tuple[str, ...] = ()


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where ``/metrics`` answers without a signature; port 0 = nowhere."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0


METRICS_DEFAULTS: Final = """\
[metrics]
# For Prometheus: http://HOST:PORT/metrics, unsigned, so keep it to loopback or a network you trust; 0 = not at all.
host = "127.0.0.1"
port = 0
"""


def parse_settings(text: str, kind: type[T], where: str) -> T:
    """Settings of type ``kind`` from TOML. Raises Invalid(settings_invalid) naming file and key."""
    try:
        return msgspec.convert(tomllib.loads(text), kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(
            f"{where}: {error}.", code="settings_invalid", hint="Correct the file, or remove it to get defaults."
        ) from error
