"""Lists in texts for people, which end somewhere: what is told is stored, shown in tables and sent with each answer."""

from collections.abc import Sequence

MOST = 6


def listed(items: Sequence[str], *, most: int = MOST, joint: str = "; ") -> str:
    """Give the first of them, and say how many more there are."""
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return joint.join([*items[:most], *more])
