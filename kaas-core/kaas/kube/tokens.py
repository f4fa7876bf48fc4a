"""Bootstrap tokens: Secrets that the API server takes as the identity of a node that joins."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from kaas.domain.errors import Code, StepError
from kaas.kube.client import Connection, path_of

NAMESPACE = "kube-system"
TOKEN_LABEL = "kaas-bootstrap-token"  # noqa: S105 - a label's name
JOINING_GROUP = "system:bootstrappers:kubeadm:default-node-token"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_SECRETS = path_of("api", "v1", "namespaces", NAMESPACE, "secrets")


def token_secret(token: str, *, expires_at: datetime) -> Mapping[str, object]:
    """Give the Secret of a token. Raises StepError (BUG) for what is none; the text does not quote it."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise StepError(Code.BUG, "a bootstrap token is six characters, a dot and sixteen characters of [a-z0-9]")
    data = {
        "token-id": found[1],
        "token-secret": found[2],
        "expiration": expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": JOINING_GROUP,
        "description": "for one node to join with",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {
            "name": f"bootstrap-token-{found[1]}",
            "namespace": NAMESPACE,
            "labels": {TOKEN_LABEL: "true"},
        },
        # Not stringData: what is written there is owned by nobody, and a second apply would find it gone.
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


async def create(connection: Connection, token: str, *, expires_at: datetime, deadline: float) -> None:
    """Make a token, or let one that is there end at another time."""
    secret = token_secret(token, expires_at=expires_at)
    name = f"bootstrap-token-{token[:6]}"
    await connection.apply(_SECRETS + path_of(name), secret, what="a bootstrap token's Secret", deadline=deadline)


async def delete_all(connection: Connection, *, deadline: float) -> None:
    """Delete the tokens that we made; kubeadm's own and users' stay."""
    query = {"labelSelector": f"{TOKEN_LABEL}=true"}
    await connection.request("DELETE", _SECRETS, query=query, deadline=deadline)
