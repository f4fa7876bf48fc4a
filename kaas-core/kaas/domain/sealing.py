"""What a cluster's sealed secrets are called, and what binds each to its cluster; the same for all who open them."""

PKI = "pki"
"""`kaas.crypto.pki.Pki` as bytes."""
SSH_KEY = "ssh-key"
"""The private key that the machines trust, in OpenSSH's format."""
CREDENTIAL = "credential"
"""The cluster's own access to the platform: JSON with `id` and `secret`."""


def context_of(cluster_id: str, kind: str) -> str:
    """Give the context that a secret is sealed under (`kaas.domain.ports.Sealed`)."""
    return f"{cluster_id}/{kind}"
