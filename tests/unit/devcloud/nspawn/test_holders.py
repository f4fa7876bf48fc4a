"""Which instance has which disk: known to the next platform as well."""

from pathlib import Path

from devcloud.nspawn.holders import Holders


def test_holders_are_known_to_the_next_platform(tmp_path: Path) -> None:
    path = tmp_path / "holders.json"
    holders = Holders(path)
    for serial, instance_id in (("a", "one"), ("b", "two"), ("c", "one"), ("a", "one")):
        holders.note(serial, instance_id)
    holders.forget("c")
    holders.forget("never seen")

    again = Holders(path)
    assert (again.get("a"), again.get("b"), again.get("c")) == ("one", "two", "")
    assert (list(again.of("one")), list(again.of_others("one"))) == (["a"], ["b"])


def test_nothing_is_held_at_first(tmp_path: Path) -> None:
    assert Holders(tmp_path / "holders.json").get("a") == ""
