"""The shipped manifests, read once."""

import pytest

from kaas.kube.addons.kustomize import Shipped
from kaas.kube.addons.platform import PlatformAccess
from kaas.kube.addons.settings import AddonSettings
from tests.golden.render import DEPLOY


def by_name(objects):
    """Objects by kind, namespace and name."""
    return {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in objects}


@pytest.fixture(scope="session")
def shipped():
    return Shipped.read(DEPLOY)


@pytest.fixture
def settings(shipped):
    return AddonSettings(shipped)


@pytest.fixture
def platform():
    return PlatformAccess("https://cloud.example.com", "0b2c8d4e", "key-text")
