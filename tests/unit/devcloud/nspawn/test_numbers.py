"""Numbers of loop devices: noted before they are taken, never used twice, given back."""

from pathlib import Path

import pytest

from devcloud import loop
from devcloud.nspawn.numbers import FIRST, HighNumbers


class FakeLoops:
    """Loop devices of a kernel."""

    def __init__(self) -> None:
        self.foreign: set[int] = set()
        self.bound: dict[int, Path] = {}
        self.idle: set[int] = set()
        self.open: set[int] = set()

    def attach_at(self, number: int, image: Path, *, read_only: bool) -> bool:
        del read_only
        if number in self.foreign | self.bound.keys() | self.idle:
            return False
        self.bound[number] = image
        return True

    def discard(self, number: int) -> bool:
        if number in self.bound or number in self.open:
            return False
        self.idle.discard(number)
        return True

    def read_loop(self, number: int) -> loop.Loop | None:
        image = self.bound.get(number)
        return None if image is None else loop.Loop(number, image, read_only=False)

    def detach(self, number: int) -> None:
        del self.bound[number]
        self.idle.add(number)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> FakeLoops:
    made = FakeLoops()
    for name in ("attach_at", "discard", "read_loop"):
        monkeypatch.setattr(loop, name, getattr(made, name))
    return made


async def test_number_is_used_once_also_by_the_next_platform(tmp_path: Path, loops: FakeLoops) -> None:
    journal = tmp_path / "loops.json"
    numbers = HighNumbers(journal)
    assert [numbers.attach(tmp_path, read_only=False) for _ in range(2)] == [FIRST, FIRST + 1]
    loops.detach(FIRST)
    await numbers.release(FIRST)

    assert HighNumbers(journal).attach(tmp_path, read_only=False) == FIRST + 2
    assert not loops.idle


def test_number_of_another_platform_is_left_alone(tmp_path: Path, loops: FakeLoops) -> None:
    loops.foreign = {FIRST, FIRST + 1}
    numbers = HighNumbers(tmp_path / "loops.json")

    assert numbers.attach(tmp_path, read_only=False) == FIRST + 2
    assert numbers.clean() == {FIRST + 2}


def test_device_that_a_crash_left_is_removed_and_one_in_use_kept(tmp_path: Path, loops: FakeLoops) -> None:
    numbers = HighNumbers(tmp_path / "loops.json")
    for _ in range(3):
        numbers.attach(tmp_path, read_only=False)
    loops.detach(FIRST)
    loops.detach(FIRST + 1)
    loops.open.add(FIRST + 1)

    assert HighNumbers(tmp_path / "loops.json").clean() == {FIRST + 1, FIRST + 2}
    assert loops.idle == {FIRST + 1}
    loops.open.clear()
    assert HighNumbers(tmp_path / "loops.json").clean() == {FIRST + 2}
