"""What `/healthz`, `/livez` and `/readyz` say: named checks, each cheap and asked anew every time.

Belongs here: collecting checks and their answer. Does not belong here: HTTP, and what a check looks at.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

Check = Callable[[], str]
"""Says what is wrong, in words that everyone may read; empty when all is well. It neither waits nor raises."""

LEADER_TOLERANCE_S = 20.0
"""How long past the end of its Lease a leader may be before it counts as stuck."""


class Page(Enum):
    """The three questions; the value is the path."""

    HEALTH = "/healthz"
    LIVE = "/livez"
    """The same as HEALTH, by its newer name: whether a new start would help."""
    READY = "/readyz"
    """Whether it can do its work: all that HEALTH asks, and more."""


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one question."""

    is_good: bool
    text: str
    """A line for each check, and a conclusion."""


class Health:
    """The checks of one process. `ping` is always there and always well: that it answers is the answer."""

    def __init__(self) -> None:
        self._alive: dict[str, Check] = {"ping": str}
        self._ready: dict[str, Check] = {}

    def alive(self, name: str, check: Check) -> contextlib.AbstractContextManager[None]:
        """Ask this check while the block runs, on all pages: when it fails for long, the process is started anew."""
        return _kept(self._alive, name, check)

    def ready(self, name: str, check: Check) -> contextlib.AbstractContextManager[None]:
        """Ask this check while the block runs, for readiness alone."""
        return _kept(self._ready, name, check)

    def report(self, page: Page, *, excluded: Collection[str] = ()) -> Report:
        """Ask all checks of a page, but for those excluded."""
        checks = self._of(page)
        problems = {name: check() for name, check in checks.items() if name not in excluded}
        lines = [f"[-]{name} failed: {problem}" if problem else f"[+]{name} ok" for name, problem in problems.items()]
        is_good = not any(problems.values())
        conclusion = f"{page.value.removeprefix('/')} check {'passed' if is_good else 'failed'}"
        return Report(is_good, "\n".join([*lines, conclusion, ""]))

    def one(self, page: Page, name: str) -> Report | None:
        """Ask one check of a page; None when it has none of this name."""
        check = self._of(page).get(name)
        if check is None:
            return None
        problem = check()
        return Report(not problem, f"{problem or 'ok'}\n")

    def _of(self, page: Page) -> Mapping[str, Check]:
        return {**self._alive, **self._ready} if page is Page.READY else self._alive


class LeadershipCheck:
    """The check of a leader: stuck is whose work goes on long after the Lease has ended.

    `works` says whether the leader's work runs, `is_valid` whether the Lease is held. The time counts from the first
    look at which both disagree.
    """

    def __init__(
        self,
        works: Callable[[], bool],
        is_valid: Callable[[], bool],
        *,
        tolerance_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._works = works
        self._is_valid = is_valid
        self._tolerance_s = tolerance_s
        self._clock = clock
        self._since: float | None = None

    def __call__(self) -> str:
        """Say what is wrong, or nothing."""
        if not self._works() or self._is_valid():
            self._since = None
            return ""
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since <= self._tolerance_s:
            return ""
        return f"the lease has ended {now - self._since:.0f} s ago or more, and the leader's work has not"


@contextlib.contextmanager
def _kept(checks: dict[str, Check], name: str, check: Check) -> Iterator[None]:
    if name in checks:
        raise ValueError(f"there is a check named {name} already")
    checks[name] = check
    try:
        yield
    finally:
        del checks[name]
