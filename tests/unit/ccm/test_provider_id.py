import pytest

from ccm.provider_id import format_provider_id, is_foreign, parse_provider_id

ID = "3f2c9b7e-1a2b-4c3d-8e9f-0123456789ab"


def test_an_id_goes_there_and_back():
    assert format_provider_id(ID) == f"thecloud://{ID}"
    assert parse_provider_id(format_provider_id(ID)) == ID


def test_letters_of_either_case_are_one_instance():
    assert parse_provider_id(f"thecloud://{ID.upper()}") == ID
    assert format_provider_id(ID.upper()) == f"thecloud://{ID}"


@pytest.mark.parametrize(
    "text",
    [
        f"aws:///eu/{ID}",
        f"kwok://{ID}",
        ID,
        f"THECLOUD://{ID}",
        f"thecloud:///{ID}",
        f"thecloud://{ID}/x",
        f"thecloud://{ID}\n",
        "thecloud://",
        "thecloud://web-1",
    ],
)
def test_any_other_id_is_somebody_elses(text: str):
    assert parse_provider_id(text) is None
    assert is_foreign(text)


def test_no_id_is_nobodys():
    assert parse_provider_id("") is None
    assert not is_foreign("")


@pytest.mark.parametrize("text", ["", "web-1", ID + "0", ID[:-1]])
def test_no_id_is_made_of_what_is_no_uuid(text: str):
    with pytest.raises(ValueError, match="no UUID"):
        format_provider_id(text)
