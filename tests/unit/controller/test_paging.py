import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.paging import MAX_PAGE, Place, take_page
from csi.errors import CsiError, ErrorKind

START = datetime(2026, 1, 1, tzinfo=UTC)
ENTRIES = st.lists(
    st.tuples(st.integers(0, 5).map(lambda s: START + timedelta(seconds=s)), st.uuids().map(str)), unique=True
)


def pages(entries: list[Place], size: int) -> list[Place]:
    seen: list[Place] = []
    token = ""
    while True:
        page = take_page(entries, lambda entry: entry, max_entries=size, token=token)
        seen += page.entries
        token = page.next_token
        if not token:
            return seen


@settings(deadline=None)
@given(ENTRIES, st.integers(1, 4), st.randoms())
def test_pages_of_any_size_give_every_entry_once_in_one_order(entries, size, random):
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert pages(shuffled, size) == sorted(entries)


def test_an_entry_that_goes_between_two_pages_shifts_nothing():
    entries = [(START + timedelta(seconds=s), f"v{s}") for s in range(4)]
    first = take_page(entries, lambda entry: entry, max_entries=2, token="")
    rest = take_page(entries[2:], lambda entry: entry, max_entries=2, token=first.next_token)
    assert list(rest.entries) == entries[2:]


def test_a_page_of_unstated_size_is_bounded():
    entries = [(START, f"{number:05}") for number in range(MAX_PAGE + 1)]
    page = take_page(entries, lambda entry: entry, max_entries=0, token="")
    assert len(page.entries) == MAX_PAGE
    assert page.next_token


@settings(deadline=None)
@given(st.one_of(st.text(min_size=1), st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_a_token_that_was_never_given_out_is_aborted(token):
    with pytest.raises(CsiError) as caught:
        take_page([], lambda entry: entry, max_entries=0, token=token)
    assert caught.value.kind is ErrorKind.BUSY
    assert "starting_token" in caught.value.message


def test_a_negative_page_size_is_invalid():
    with pytest.raises(CsiError) as caught:
        take_page([], lambda entry: entry, max_entries=-1, token="")
    assert caught.value.kind is ErrorKind.INVALID
