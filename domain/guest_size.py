"""How big a guest may be, and of what it may be made. Nothing outside these bounds reaches a host."""

from nano.domain.errors import Conflict, Invalid
from nano.domain.image import Image
from nano.domain.machine import (
    CORES_MAX,
    DISK_MAX,
    DISK_MIN,
    DISKS_MAX,
    HARDWARE_MODELS,
    MEMORY_MAX,
    MEMORY_MIN,
    Hardware,
    MachineSpec,
)
from nano.domain.naming import format_size


def within(value: int, low: int, high: int, field: str, shown: str, unit: str) -> None:
    """Raises Invalid(invalid_<field>) unless it is."""
    if not low <= value <= high:
        raise Invalid(f"{field} is {shown}.", code=f"invalid_{field}", hint=f"Use {unit}.", field=field)


def check_size(cores: int, memory: int, disks: tuple[int, ...], image: Image | None) -> None:
    within(cores, 1, CORES_MAX, "cores", str(cores), f"1 to {CORES_MAX}")
    within(
        memory,
        MEMORY_MIN,
        MEMORY_MAX,
        "memory",
        f"{memory} bytes",
        f"{format_size(MEMORY_MIN)} to {format_size(MEMORY_MAX)}",
    )
    if memory % 1024:
        raise Invalid(f"memory is {memory} bytes.", code="invalid_memory", hint="Use whole KiB.", field="memory")
    within(len(disks), 1, DISKS_MAX, "disks", f"{len(disks)} disks", f"1 to {DISKS_MAX} disks")
    for size in disks:
        within(
            size,
            DISK_MIN,
            DISK_MAX,
            "disks",
            f"{size} bytes",
            f"{format_size(DISK_MIN)} to {format_size(DISK_MAX)} each",
        )
        if size % 512:
            raise Invalid(
                f"A disk of {size} bytes has no whole number of sectors.",
                code="invalid_disks",
                hint="Use a multiple of 512.",
                field="disks",
            )
    if image is None:
        return
    if not image.ready:
        raise Conflict(
            f"Image {image.name} is still being inspected.", code="image_not_ready", hint="Wait for its task to end."
        )
    if disks[0] < image.virtual_size:
        raise Invalid(
            f"Image {image.name} needs a system disk of {format_size(image.virtual_size)} at least.",
            code="disk_smaller_than_image",
            hint=f"Give disk {format_size(image.virtual_size)} or more.",
            field="disks",
            minimum=image.virtual_size,
        )


def check_room(spec: MachineSpec) -> None:
    """How far the guest can grow while it runs is within what a guest may have."""
    within(
        spec.cores_max, 0, CORES_MAX, "cores_max", str(spec.cores_max), f"1 to {CORES_MAX}, or 0 for no room to grow"
    )
    shown, most = f"{spec.memory_max} bytes", format_size(MEMORY_MAX)
    within(spec.memory_max, 0, MEMORY_MAX, "memory_max", shown, f"{most} at most, or 0 for no room to grow")
    if spec.memory_max % 1024:
        raise Invalid(f"memory_max is {shown}.", code="invalid_memory_max", hint="Use whole KiB.", field="memory_max")


def check_limit(field: str, value: int, low: int, high: int) -> None:
    """A limit of a guest's disks or network interfaces; 0 is none."""
    if value:
        within(value, low, high, field, str(value), f"{low} to {high} a second, or 0 for no limit")


def check_hardware(hardware: Hardware) -> None:
    """Every model is one that is rendered and tested; nothing else reaches a domain's XML."""
    for field, models in HARDWARE_MODELS.items():
        model = getattr(hardware, field)
        if model not in models:
            raise Invalid(
                f"{model[:40]!r} is no {field} model.",
                code="invalid_hardware",
                hint=f"Use one of: {', '.join(repr(known) for known in models)}.",
                field=f"hardware.{field}",
            )
