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
)
from nano.domain.naming import format_size


def check_size(cores: int, memory: int, disks: tuple[int, ...], image: Image | None) -> None:
    def within(value: int, low: int, high: int, field: str, shown: str, unit: str) -> None:
        if not low <= value <= high:
            raise Invalid(f"{field} is {shown}.", code=f"invalid_{field}", hint=f"Use {unit}.", field=field)

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
