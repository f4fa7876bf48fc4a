"""What a store tells, and when."""

import pytest

from ccm.kube.model import Meta, Node
from ccm.kube.store import Store


def node(name, version="1", uid="u", **labels):
    return Node(metadata=Meta(name=name, uid=uid, resource_version=version, labels=labels))


class Seen:
    def __init__(self, store):
        self.changes = []
        store.subscribe(lambda old, new: self.changes.append((old, new)))


def test_a_late_subscriber_is_told_of_what_is_there():
    store = Store()
    store.apply(node("a"))
    seen = Seen(store)
    assert seen.changes == [(None, node("a"))]


def test_changes_come_with_before_and_after():
    store = Store()
    seen = Seen(store)
    store.apply(node("a", "1"))
    store.apply(node("a", "2", zone="x"))
    store.remove("a", uid="u", version="3")
    assert seen.changes == [
        (None, node("a", "1")),
        (node("a", "1"), node("a", "2", zone="x")),
        (node("a", "2", zone="x"), None),
    ]
    assert len(store) == 0


@pytest.mark.parametrize(("version", "counts"), [("9", False), ("10", False), ("11", True), ("8x", True)])
def test_only_newer_objects_count(version, counts):
    store = Store()
    store.apply(node("a", "10"))
    store.apply(node("a", version, zone="x"))
    assert (store.get("a").labels == {"zone": "x"}) is counts


def test_the_end_of_an_older_object_of_the_name_ends_nothing():
    store = Store()
    store.apply(node("a", "10", uid="new"))
    store.remove("a", uid="old", version="11")
    store.remove("a", uid="new", version="9")
    store.remove("b", uid="new", version="12")
    assert "a" in store


def test_another_object_of_the_same_name_is_told_as_two_changes():
    store = Store()
    store.apply(node("a", "1", uid="old"))
    seen = Seen(store)
    store.apply(node("a", "5", uid="new"))
    assert seen.changes[1:] == [(node("a", "1", uid="old"), None), (None, node("a", "5", uid="new"))]


def test_a_listing_replaces_everything_and_tells_only_differences():
    store = Store()
    for name in ("same", "changed", "gone", "kept"):
        store.apply(node(name, "10"))
    seen = Seen(store)
    del seen.changes[:]
    listing = [node("same", "10"), node("changed", "5"), node("new", "20")]
    store.replace({one.key: one for one in listing}, keep=["kept"])
    assert seen.changes == [
        (node("gone", "10"), None),
        (node("changed", "10"), node("changed", "5")),
        (None, node("new", "20")),
    ]
    assert sorted(one.key for one in store.values()) == ["changed", "kept", "new", "same"]


def test_an_index_follows():
    store = Store()
    store.apply(node("a", "1", zone="x"))
    store.add_index("zone", lambda one: [one.labels["zone"]] if "zone" in one.labels else [])
    store.apply(node("b", "1", zone="x"))
    assert [one.key for one in store.by_index("zone", "x")] == ["a", "b"]
    store.apply(node("a", "2", zone="y"))
    assert [one.key for one in store.by_index("zone", "x")] == ["b"]
    assert [one.key for one in store.by_index("zone", "y")] == ["a"]
    store.remove("b", uid="u", version="3")
    store.apply(node("a", "4"))
    assert store.by_index("zone", "x") == store.by_index("zone", "y") == ()
    with pytest.raises(KeyError):
        store.by_index("other", "x")


def test_a_subscriber_that_fails_stops_nobody(caplog):
    store = Store()

    def fail(old, new):
        raise ValueError("broken")

    store.subscribe(fail)
    seen = Seen(store)
    store.apply(node("a"))
    assert len(seen.changes) == 1
    assert "a handler failed on a" in caplog.text
