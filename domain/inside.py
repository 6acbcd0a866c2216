"""Inside: what a guest's own agent says of its system, when somebody asks. Only told, never recorded.

Everything here was said by the guest, which may lie: the driver has cut it to what may be shown (printable, few, short, no
number that can't be), and nobody decides anything by it.
"""

import msgspec


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """``addresses`` with their prefix length."""

    name: str
    mac: str
    addresses: tuple[str, ...]


class FileSystem(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes; 0 where the guest does not say."""

    mount: str
    device: str
    type: str
    size: int
    used: int


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """``memory`` in bytes as the guest's own system counts it, 0 where its balloon driver is silent."""

    host_name: str = ""
    system: str = ""
    kernel: str = ""
    memory: int = 0
    memory_used: int = 0
    interfaces: tuple[Interface, ...] = ()
    file_systems: tuple[FileSystem, ...] = ()
