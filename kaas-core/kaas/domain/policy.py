"""Who may do what, in one table."""

from collections.abc import Mapping
from enum import StrEnum

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope


class Role(StrEnum):
    """Roles in a tenant, from the least."""

    READER = "reader"
    MEMBER = "member"
    ADMIN = "admin"


class Action(StrEnum):
    """What requests are checked for."""

    READ = "cluster:read"
    CREATE = "cluster:create"
    UPDATE = "cluster:update"
    """Scale, node groups, repair, and whatever else changes a cluster."""
    DELETE = "cluster:delete"
    KUBECONFIG = "cluster:kubeconfig"
    SSH_KEY = "cluster:ssh-key"


_READER = frozenset({Action.READ, Action.KUBECONFIG})
_MEMBER = _READER | {Action.CREATE, Action.UPDATE, Action.DELETE}
POLICY: Mapping[Role, frozenset[Action]] = {
    Role.READER: _READER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _MEMBER | {Action.SSH_KEY},
}
_RANK = tuple(Role)


def role_of(scope: Scope) -> Role | None:
    """Give the caller's role; None for a word that is none, which may do nothing."""
    return Role(scope.role) if scope.role in POLICY else None


def check(scope: Scope, action: Action) -> None:
    """Raise RequestError (FORBIDDEN) unless the caller may do it."""
    role = role_of(scope)
    if role is None or action not in POLICY[role]:
        allowed = " or ".join(role.value for role in Role if action in POLICY[role])
        raise RequestError(
            Code.FORBIDDEN,
            f"permission denied: {action.value} needs the role {allowed}; yours is {scope.role or 'none'}",
        )


def kubeconfig_role(scope: Scope, wanted: str) -> Role:
    """Give the role that a kubeconfig is made for: the wanted one, or the caller's own; never more than that.

    Raises RequestError: INVALID for a word that is no role, FORBIDDEN for more than the caller has.
    """
    check(scope, Action.KUBECONFIG)
    own = Role(scope.role)
    if not wanted:
        return own
    if wanted not in POLICY:
        raise RequestError(
            Code.INVALID, f"role {wanted[:40]!r} is none of {', '.join(role.value for role in Role)}; leave it out"
        )
    role = Role(wanted)
    if _RANK.index(role) > _RANK.index(own):
        raise RequestError(Code.FORBIDDEN, f"permission denied: your role is {own.value}, which gives no {role.value}")
    return role
