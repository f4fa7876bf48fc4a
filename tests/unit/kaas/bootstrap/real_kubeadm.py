"""The real kubeadm, where one was built for the tests with whole clusters."""

from pathlib import Path

import pytest

_BUILT = Path.home() / ".cache" / "thecloud-kubernetes" / "cluster" / "binaries"


def kubeadm() -> Path:
    """Give the program, or skip the test."""
    found = sorted(_BUILT.glob("kubernetes-*/kubeadm"))
    if not found:
        pytest.skip(f"no kubeadm below {_BUILT}; `make cluster` builds one")
    return found[-1]
