"""Access to a cluster, issued on demand: a short-lived client certificate, and the kubeconfig around it.

Kubernetes cannot revoke a certificate, so what bounds access is its short life; a role is taken from everybody by
taking its binding away. Hence 10 minutes to 24 hours for all roles; only an admin may have up to a year, and only where
the request says in so many words that it wants a long-lived one. Nobody is ever a member of system:masters, since no
RBAC object could take that away again.
"""

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import yaml

from kaas.crypto.certificates import KeyPair, issue_client
from kaas.crypto.pki import Pki
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.ports import KubeAccess

GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {"admin": "kaas:admin", "member": "kaas:edit", "reader": "kaas:view"}
)
"""Group of each role; `kaas.kube.addons.rbac` binds them in every cluster."""
CONDUCTORS_GROUP = "kubeadm:cluster-admins"
"""Bound by kubeadm itself, from 1.29 on."""
CONDUCTOR = "kaas:conductor"
CONDUCTOR_LIFETIME = timedelta(hours=1)
SHORTEST = timedelta(minutes=10)
LONGEST = timedelta(hours=24)
LONGEST_OF_ADMIN = timedelta(days=365)
"""Only with `long_lived`."""
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Issued:
    """A kubeconfig, and what the audit keeps of it: never the text itself."""

    text: str = field(repr=False)
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """Who is given access to which cluster, as what, for how long."""

    cluster_name: str
    endpoint: str
    """`host:port` of the cluster's API."""
    user_id: str
    role: str
    """One of `GROUPS`."""
    lifetime: timedelta = LONGEST
    long_lived: bool = False
    """The request says that it wants more than `LONGEST`; for admins only."""


async def issue_kubeconfig(pki: Pki, grant: Grant, *, now: datetime | None = None) -> Issued:
    """Sign a certificate and write a kubeconfig. Raises RequestError: INVALID or WRONG_STATE, nothing is signed."""
    problems = problems_of(grant)
    if problems:
        raise RequestError(Code.INVALID, "; ".join(problem.message for problem in problems), problems=problems)
    if not grant.endpoint:
        raise RequestError(
            Code.WRONG_STATE, f"cluster {grant.cluster_name!r} has no API endpoint yet; wait until it runs"
        )
    pair = await asyncio.to_thread(
        issue_client,
        pki.cluster,
        user_name(grant.user_id),
        organizations=(GROUPS[grant.role],),
        lifetime=grant.lifetime,
        now=now,
    )
    return Issued(_text(pki, grant, pair), pair.serial, pair.not_after)


def problems_of(grant: Grant) -> tuple[Problem, ...]:
    """Tell what is wrong with a request for access; `expires_in` and `role` are its fields."""
    if grant.role not in GROUPS:
        return (Problem("role", f"the role must be one of {', '.join(GROUPS)}, not {grant.role!r}"),)
    may_be_long = grant.long_lived and grant.role == "admin"
    longest = LONGEST_OF_ADMIN if may_be_long else LONGEST
    if SHORTEST <= grant.lifetime <= longest:
        return ()
    allowed = "10 minutes to 365 days" if may_be_long else "10 minutes to 24 hours"
    more = "" if may_be_long or grant.role != "admin" else "; an admin may ask for a long-lived one, up to 365 days"
    return (Problem("expires_in", f"a kubeconfig for role {grant.role} lives {allowed}{more}"),)


async def conductor_access(pki: Pki, endpoint: str, *, lifetime: timedelta = CONDUCTOR_LIFETIME) -> KubeAccess:
    """Sign a certificate of our own, for `kaas.domain.ports.Kube`; nothing of it is stored."""
    pair = await asyncio.to_thread(
        issue_client, pki.cluster, CONDUCTOR, organizations=(CONDUCTORS_GROUP,), lifetime=lifetime
    )
    return KubeAccess(
        server=f"https://{endpoint}",
        ca_pem=pki.cluster.cert_pem,
        client_cert_pem=pair.cert_pem,
        client_key_pem=pair.key_pem,
    )


def user_name(user_id: str) -> str:
    """Give a user's name inside of clusters; ids that a certificate has no room for are shown by their digest."""
    name = f"kaas:{user_id}"
    if user_id and len(name.encode()) <= _MAX_NAME and name.isprintable():
        return name
    return f"kaas:sha256-{hashlib.sha256(user_id.encode()).hexdigest()[:40]}"


def _text(pki: Pki, grant: Grant, pair: KeyPair) -> str:
    user = f"{grant.cluster_name}-{grant.role}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": grant.cluster_name,
                "cluster": {
                    "server": f"https://{grant.endpoint}",
                    "certificate-authority-data": _data(pki.cluster.cert_pem),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _data(pair.cert_pem), "client-key-data": _data(pair.key_pem)},
            }
        ],
        "contexts": [{"name": user, "context": {"cluster": grant.cluster_name, "user": user}}],
        "current-context": user,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
