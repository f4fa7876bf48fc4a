"""The record in a ConfigMap, over a real connection to the fake API server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ccm.autoscaler.config_map import NAME, ConfigMapStore
from ccm.autoscaler.ports import StoreConflict, StoreUnavailable
from ccm.kube.client import open_client
from tests.support.fake_api import FakeApi, fake_api

NAMESPACE = "kube-system"


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


@contextlib.asynccontextmanager
async def stored() -> AsyncIterator[tuple[FakeApi, ConfigMapStore]]:
    async with fake_api() as api, await open_client(master=api.url) as client:
        yield api, ConfigMapStore(client, namespace=NAMESPACE)


async def test_the_record_is_made_and_replaced() -> None:
    async with stored() as (api, store):
        assert (await store.get(deadline=soon())).version == ""
        first = await store.put("one", version="", deadline=soon())
        second = await store.put("two", version=first.version, deadline=soon())
        assert await store.get(deadline=soon()) == second
        assert second.text == "two"
        assert api.get("configmaps", NAME, NAMESPACE)["data"] == {"record.json": "two"}  # type: ignore[index]


async def test_another_version_is_a_conflict() -> None:
    async with stored() as (api, store):
        first = await store.put("one", version="", deadline=soon())
        with pytest.raises(StoreConflict):
            await store.put("again", version="", deadline=soon())
        await store.put("two", version=first.version, deadline=soon())
        with pytest.raises(StoreConflict):
            await store.put("three", version=first.version, deadline=soon())
        api.delete("configmaps", NAME, NAMESPACE)
        with pytest.raises(StoreConflict):
            await store.put("four", version=first.version, deadline=soon())


async def test_what_others_keep_there_stays() -> None:
    async with stored() as (api, store):
        api.put(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "data": {"a": "b"},
            }
        )
        found = await store.get(deadline=soon())
        assert (found.text, bool(found.version)) == ("", True)
        await store.put("one", version=found.version, deadline=soon())
        assert api.get("configmaps", NAME, NAMESPACE)["data"] == {"a": "b", "record.json": "one"}  # type: ignore[index]


@pytest.mark.parametrize("status", [403, 500])
async def test_no_usable_answer_says_so(status: int) -> None:
    async with stored() as (api, store):
        api.fail(status=status, times=None)
        with pytest.raises(StoreUnavailable, match=NAME):
            await store.get(deadline=soon())
        with pytest.raises(StoreUnavailable, match=NAME):
            await store.put("one", version="", deadline=soon())
