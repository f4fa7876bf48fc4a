"""Manifests are read as the API server's tools read them."""

import pytest

from kaas.kube.addons.problems import ManifestError
from kaas.kube.addons.yaml_text import read_documents, read_manifests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21", "2026-11-21"),
        ("=", "="),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("1.5", 1.5),
        ("~", None),
        ('"true"', "true"),
    ],
)
def test_scalars(text, expected):
    assert read_documents(f"[{text}]", name="f") == [[expected]]


def test_empty_documents_and_lists():
    text = "---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n---\n# words\n"
    assert read_manifests(text, name="f") == [{"apiVersion": "v1", "kind": "Pod"}]


def test_no_code_is_run():
    with pytest.raises(ManifestError):
        read_documents("!!python/object/apply:os.getpid []", name="f")
