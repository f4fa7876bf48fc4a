"""Bodies of any kind: decoded, or refused as a wrong body, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devcloud.api.envelope import decode
from devcloud.api.requests import CreateVolumeExtended, LaunchInstance
from devcloud.errors import BodyError
from devcloud.volumes import carries, parse_uuid

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*LaunchInstance.__struct_fields__, *CreateVolumeExtended.__struct_fields__, "other"])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(FIELDS, VALUES, max_size=6).map(json.dumps).map(str.encode))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    for wanted in (CreateVolumeExtended, LaunchInstance):
        try:
            decoded = decode(body, wanted)
        except BodyError:
            continue
        assert isinstance(decoded, wanted)
        assert decoded.name
        decoded.name.encode()


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=3, max_size=64), st.integers(1, 16000))
def test_good_bodies_are_read_in_any_spelling(name: str, size_gb: int) -> None:
    for text in (
        json.dumps({"NAME": name, "Size_GB": size_gb, "tags": None}),
        json.dumps({"name": name, "size_gb": size_gb}),
    ):
        decoded = decode(text.encode(), CreateVolumeExtended)
        assert (decoded.name, decoded.size_gb, decoded.tags) == (name, size_gb, {})


def test_lone_surrogate_is_replaced() -> None:
    assert decode(b'{"name":"vol\\ud800","size_gb":1}', CreateVolumeExtended).name == "vol\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11", True),
        ("7D9A4A2E8F3C4F439D5E0C8F5B1F7F11", True),
        ("{7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11}", True),
        ("urn:uuid:7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11", True),
        ("7d9a-4a2e8f3c4f439d5e0c8f5b1f7f11", False),
        ("{7d9a4a2e8f3c4f439d5e0c8f5b1f7f11", False),
        ("", False),
    ],
)
def test_forms_of_a_uuid(text: str, *, is_id: bool) -> None:
    assert (parse_uuid(text) is not None) == is_id


@settings(deadline=None)
@given(st.dictionaries(st.text("ab:", min_size=1, max_size=3), st.text("ab:", max_size=3), max_size=4))
def test_object_carries_its_own_tags(tags: dict[str, str]) -> None:
    plain = {key: value for key, value in tags.items() if ":" not in key}

    assert carries(tags, [f"{key}:{value}" for key, value in plain.items()])
    assert carries(tags, list(plain))
    assert not carries(tags, ["c"])
