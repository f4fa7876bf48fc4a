"""A zone that becomes known late reaches the cluster through another registration."""

import asyncio
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from csi.registration import Registration
from node.identity import NodeIdentity
from node.zone_watch import ZoneWatch


class Identities:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, *, deadline: float) -> NodeIdentity:
        self.asked += 1
        zone = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if zone is None:
            raise CsiError(ErrorKind.UNKNOWN_OUTCOME, "not initialised")
        return NodeIdentity("n", "setting", zone, "Node label" if zone else "no source")


@pytest.mark.parametrize(
    ("answers", "renewed"), [(["z1"], False), (["", "", "z1"], True), ([None, "z1"], True), ([None, "", "z1"], True)]
)
async def test_the_plugin_is_registered_again_only_if_the_zone_came_late(
    answers: list[str | None], tmp_path: Path, caplog: pytest.LogCaptureFixture, *, renewed: bool
) -> None:
    registration = Registration(socket=tmp_path / "r", endpoint=tmp_path / "e")
    identities = Identities(*answers)
    await ZoneWatch(identities, first_pause_s=0.0).run(registration)
    assert identities.asked == len(answers)
    assert registration.take_renewal() is renewed
    assert caplog.text.count("no source knows the zone") == (1 if "" in answers else 0)


async def test_the_pauses_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    registration = Registration(socket=tmp_path / "r", endpoint=tmp_path / "e")
    await ZoneWatch(Identities(None, None, *[""] * 7, "z")).run(registration)
    assert slept == [15.0, 15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0, 300.0]
