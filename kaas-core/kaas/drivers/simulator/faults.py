"""Faults by rule: which call goes wrong, when, and how."""

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from kaas.domain.errors import Code


class Action(StrEnum):
    """How a call goes wrong."""

    REFUSE = "refuse"
    """The error of the rule; nothing was done."""
    LOSE = "lose"
    """It is done, and then the error of the rule: an answer that was lost on its way."""
    KILL_BEFORE = "kill-before"
    """The caller dies before anything is done."""
    KILL_AFTER = "kill-after"
    """It is done, and the caller dies before the answer."""
    EMPTY = "empty"
    """A listing, or the look at one machine, shows nothing, whatever there is."""
    FAIL_MACHINE = "fail-machine"
    """The platform makes the machine, and then says that it failed."""
    NEVER_BOOT = "never-boot"
    """The machine runs, and never tells anything."""
    BOOT_ERROR = "boot-error"
    """The machine tells that its first boot went wrong."""


class KilledError(BaseException):
    """The conductor is dead from here on; what catches this is not a conductor any more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A named fault. `match` is a pattern over `<method> <what>`, such as `driver.create machine dev-*`."""

    name: str
    match: str
    action: Action = Action.REFUSE
    code: Code = Code.PLATFORM_UNAVAILABLE
    message: str = "the platform answered 503"
    retry_after_s: float | None = None
    first: int = 1
    """Number of the first matching call that goes wrong."""
    times: int = 1
    """How many go wrong, from the first; 0: all of them."""


@dataclass(slots=True)
class Faults:
    """The rules that hold now; the first one that matches a call and is due is used."""

    rules: list[Rule] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        """Let a rule hold, counted from now."""
        self.drop(rule.name)
        self.rules.append(rule)

    def drop(self, name: str) -> None:
        """End a rule; none of that name is no error."""
        self.rules = [rule for rule in self.rules if rule.name != name]
        self._seen.pop(name, None)

    def clear(self) -> None:
        """End all rules."""
        self.rules.clear()
        self._seen.clear()

    def due(self, call: str) -> Rule | None:
        """Count a call, and give the rule that it goes wrong by."""
        found = None
        for rule in self.rules:
            if not fnmatchcase(call, rule.match):
                continue
            number = self._seen[rule.name] = self._seen.get(rule.name, 0) + 1
            if found is None and number >= rule.first and (not rule.times or number < rule.first + rule.times):
                found = rule
        return found
