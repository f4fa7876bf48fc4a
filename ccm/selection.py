"""Which controllers run: the names that other cloud controller managers use, and the list that picks among them."""

from collections.abc import Sequence

NODE = "cloud-node-controller"
LIFECYCLE = "cloud-node-lifecycle-controller"
SERVICE = "service-lb-controller"
ROUTE = "node-route-controller"

CONTROLLERS = (NODE, LIFECYCLE, SERVICE, ROUTE)
ALIASES = {
    "cloud-node": NODE,
    "cloud-node-lifecycle": LIFECYCLE,
    "service": SERVICE,
    "route": ROUTE,
}
"""Short names that are taken as well."""
ALL = "*"


def is_selected(name: str, words: Sequence[str]) -> bool:
    """Say whether the list picks a controller: `name` does, `-name` does not, `*` picks all that are not named.

    The first word that names the controller decides.
    """
    for word in words:
        if _canonical(word.removeprefix("-")) == name:
            return not word.startswith("-")
    return ALL in words


def unknown_words(words: Sequence[str]) -> tuple[str, ...]:
    """Give the words that name no controller."""
    return tuple(word for word in words if word != ALL and _canonical(word.removeprefix("-")) not in CONTROLLERS)


def _canonical(word: str) -> str:
    return ALIASES.get(word, word)
