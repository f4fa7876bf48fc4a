"""Keys and certificates: envelope encryption at rest, PKI of clusters, kubeconfigs, SSH keys."""
