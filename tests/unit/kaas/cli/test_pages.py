"""Lists that come in pages are read to their end."""

from typing import Any

from kaas.cli.client import Answer, Api
from tests.unit.kaas.api.rig import BLUE, KEYS, Rig
from tests.unit.kaas.cli.rig import Service

PAGES = {"": (["a", "b"], "b%20b"), "b b": (["c"], "c"), "c": ([], "c")}


class Paged(Api):
    def __init__(self) -> None:
        super().__init__("http://kaas", "key")
        self.asked: list[tuple[str, Any]] = []

    async def get(self, path: str, **query: Any) -> Answer:
        self.asked.append((path, query))
        data, marker = PAGES[query["marker"]]
        return Answer(data, {"X-Next-Marker": marker})


async def test_all_pages_are_one_answer_and_the_conditions_stay() -> None:
    async with Paged() as api:
        assert (await api.all("/operations", cluster="dev")).data == ["a", "b", "c"]
    assert api.asked == [("/operations", {"marker": marker, "cluster": "dev"}) for marker in PAGES]


def test_the_service_gives_pages_that_are_followed(service: Service) -> None:
    async def make(rig: Rig) -> None:
        for name in ("a", "b", "c"):
            await rig.create(name)

    async def read(_rig: Rig) -> list[str]:
        async with Api(service.url, KEYS[BLUE, "admin"]) as api:
            return [one["name"] for one in (await api.all("/clusters", limit=2)).data]

    service.do(make)
    assert service.do(read) == ["a", "b", "c"]
