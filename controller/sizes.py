"""How large a volume becomes for a range that was asked for (pure).

The platform knows whole GiB, 1 to 16000; a request is rounded up and never exceeds its own limit.
"""

from controller.model import DEFAULT_VOLUME_BYTES, GIB, MAX_VOLUME_BYTES, MIN_VOLUME_BYTES
from csi.errors import CsiError, ErrorKind


def choose_size(required_bytes: int, limit_bytes: int, *, at_least_bytes: int = 0) -> int:
    """Give the size in bytes of a new volume.

    `at_least_bytes` is the size of the content that it starts with. A range without a lower end gives the default, or
    what the limit allows of it. Raises CsiError OUT_OF_RANGE when no whole number of GiB fits.
    """
    if required_bytes:
        size = round_up(required_bytes)
    elif limit_bytes:
        size = min(max(DEFAULT_VOLUME_BYTES, at_least_bytes), limit_bytes // GIB * GIB)
    else:
        size = max(DEFAULT_VOLUME_BYTES, at_least_bytes)
    if size < at_least_bytes:
        raise CsiError(
            ErrorKind.OUT_OF_RANGE,
            f"capacity_range allows {size} bytes ({size // GIB} GiB), but the source holds {at_least_bytes} "
            f"({at_least_bytes // GIB} GiB); ask for at least the size of the source",
        )
    check_size(size, required_bytes, limit_bytes)
    return size


def check_size(size: int, required_bytes: int, limit_bytes: int) -> None:
    """Refuse a size that the platform or the request's limit does not allow.

    Raises CsiError OUT_OF_RANGE.
    """
    if limit_bytes and (size > limit_bytes or size < MIN_VOLUME_BYTES):
        raise CsiError(
            ErrorKind.OUT_OF_RANGE,
            f"capacity_range: {required_bytes} to {limit_bytes} bytes holds no whole number of GiB; volumes come in "
            f"steps of {GIB} bytes, the next larger size is {max(size, MIN_VOLUME_BYTES)}",
        )
    if size > MAX_VOLUME_BYTES:
        raise CsiError(
            ErrorKind.OUT_OF_RANGE,
            f"capacity_range: asked for are {size // GIB} GiB ({required_bytes} bytes), but the largest volume has "
            f"{MAX_VOLUME_BYTES // GIB} GiB; ask for less",
        )


def fits(size_bytes: int, required_bytes: int, limit_bytes: int) -> bool:
    """Say whether an existing size satisfies a range; 0 means an open end."""
    return size_bytes >= required_bytes and (not limit_bytes or size_bytes <= limit_bytes)


def round_up(size_bytes: int) -> int:
    """Give the next whole number of GiB in bytes."""
    return -(-size_bytes // GIB) * GIB
