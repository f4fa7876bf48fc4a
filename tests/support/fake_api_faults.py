"""What goes wrong at the fake Kubernetes API, and what it has seen."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    """The JSON that came with it, else None."""
    headers: Mapping[str, str] = field(repr=False)
    at: float
    """When, on the loop's clock."""

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") in ("1", "true")


class Trouble(enum.Enum):
    """How a request goes wrong other than by a status."""

    DROP = "the connection ends, nothing was done"
    LOST = "it is done, but the connection ends in place of an answer"
    HANG = "no byte comes"
    HALF = "half of the answer comes, then the connection ends"
    GARBAGE = "200 with a body that is no JSON"
    EMPTY_STREAM = "200, then the stream ends without a line"


@dataclass(slots=True)
class Fault:
    """Which requests go wrong, how, and how often."""

    method: str
    path: str
    """How their paths start."""
    watch: bool | None
    status: int
    reason: str
    message: str
    retry_after_s: int | None
    trouble: Trouble | None
    delay_s: float
    left: int | None
    """How many more; None: all."""
    met: int = 0

    def takes(self, request: Request) -> bool:
        """Whether it meets this request; counts it if so."""
        fits = (
            self.left != 0
            and self.method in ("", request.method)
            and request.path.startswith(self.path)
            and self.watch in (None, request.is_watch)
        )
        if fits:
            self.met += 1
            self.left = None if self.left is None else self.left - 1
        return fits
