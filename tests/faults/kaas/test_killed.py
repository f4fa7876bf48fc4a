"""SIGKILL of processes that conduct: whoever follows brings the operation to the same end, and makes nothing twice.

The points are those that an undisturbed run passes: every boundary of every step, and both sides of every call.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaas.reconcile.faults import BEFORE_RELEASE, Point
from tests.faults.kaas.conftest import Tell
from tests.faults.kaas.killing import SIDE_BY_SIDE, killed_at, never
from tests.faults.kaas.scenes import STORIES, Scene
from tests.support.kaas_deaths import AFTER, is_call

Choice = Callable[[str], bool]


def is_boundary(point: str) -> bool:
    """Choose the boundaries of steps and of the operation."""
    return not is_call(point)


def is_answered(point: str) -> bool:
    """Choose what is between a call to the outside and the commit that follows from it."""
    return point.startswith(f"{AFTER} ")


def is_met_again(name: str, point: str) -> bool:
    """Tell whether a process that follows others comes to a point: what they have done needs no further calls."""
    if name == "delete" and point == BEFORE_RELEASE:
        return False
    return is_boundary(point) or " 1 of " in point


def thorough(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.thorough)


def undisturbed(scene: Scene) -> tuple[list[str], dict[str, object]]:
    """Give the points of a run, and how it ends."""
    at, passed = killed_at(scene, never)
    assert at == ""
    return list(dict.fromkeys(passed)), asyncio.run(scene.end())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("create", is_boundary),
        ("create", is_answered),
        ("delete", is_boundary),
        thorough("delete", is_answered),
        *(
            thorough(name, choice)
            for name in STORIES
            if name not in {"create", "delete"}
            for choice in (is_boundary, is_answered)
        ),
    ],
)
def test_each_process_dies_at_the_first_point_at_which_none_has_died(
    scene: Tell, tmp_path: Path, name: str, chosen: Choice
) -> None:
    told = scene(name)
    points, wanted = undisturbed(told.copied(tmp_path / "undisturbed"))
    died: set[str] = set()
    while at := killed_at(told, lambda point: chosen(point) and point not in died)[0]:
        died.add(at)
    assert asyncio.run(told.end()) == wanted
    assert [point for point in points if chosen(point) and point not in died and is_met_again(name, point)] == []
    if name != "delete":
        asyncio.run(told.delete())


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STORIES)
def test_one_process_dies_and_one_follows(told: Tell, tmp_path: Path, name: str) -> None:
    points, wanted = undisturbed(told(name).copied(tmp_path / "undisturbed"))
    for number, point in enumerate(points):
        one = told(name).copied(tmp_path / str(number))
        # Steps run side by side here, so that a process dies in the middle of others too.
        killed_at(one, lambda passed, point=point: passed == point, parallel=SIDE_BY_SIDE)
        killed_at(one, never, parallel=SIDE_BY_SIDE)
        assert asyncio.run(one.end()) == wanted, point


def test_every_boundary_of_every_step_is_a_point(scene: Tell) -> None:
    told = scene("create")
    points, end = undisturbed(told)
    steps = {point.rpartition(":")[0] for point in points if point.endswith(f":{Point.AFTER_BEGIN}")}
    assert len(steps) == len(end["steps"])  # type: ignore[arg-type]
    met = {f"{step}:{point}" for step in steps for point in Point} - set(points)
    assert met == set()
    assert sum(map(is_answered, points)) > 50
