"""Lists in pages, for those who may have many: `limit` and `marker`, as OpenStack's services have them.

The platform's own clients know no pages (platform contract 1.7), so that a page is as long as possible unless asked.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import Query

NEXT_MARKER = "X-Next-Marker"
"""Header of an answer behind which there is more: the `marker` of the next page."""
MAX_PAGE = 1000
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="So many at most")]
Marker = Annotated[
    str, Query(max_length=255, description=f"Only those after this one; header `{NEXT_MARKER}` of the page before")
]
One = TypeVar("One")


def page(found: Sequence[One], limit: int, marker_of: Callable[[One], str]) -> tuple[Sequence[One], dict[str, str]]:
    """Cut a page off what was found, which is one more than a page when there is more; and give its headers."""
    shown = found[:limit]
    return shown, {NEXT_MARKER: quote(marker_of(shown[-1]), safe="")} if len(found) > limit else {}
