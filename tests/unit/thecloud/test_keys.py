"""SSH keys and API keys: made once, and no API key anywhere but where it is asked for."""

import json

import pytest

from tests.unit.thecloud.scripted import OTHER_ID, Platform, Reply, broken, failure, ok, raw_500, soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Conflict, Missing, UnknownOutcome
from thecloud.lean_httpx import httpx
from thecloud.presence import Gone

LOST = broken(httpx.ReadError("lost"))
ID = "4f1c2d3e-0000-4000-8000-0000000000ee"
PUBLIC_KEY = "ssh-ed25519 AAAA somebody"
SECRET = "thecloud_ffffffffffffffffffffffffffffffff"


class TestSshKeys:
    PATH = f"/ssh-keys/{ID}"

    def row(self, **fields):
        return {"id": ID, "name": "mine", "public_key": PUBLIC_KEY, "fingerprint": "SHA256:x"} | fields

    @virtual
    async def test_the_whole_life(self):
        platform = (
            Platform(features=None)
            .on("POST", "/ssh-keys", ok(self.row(), 201), failure(409, "CONFLICT"), LOST)
            .on("GET", "/ssh-keys", ok([self.row(), self.row(id=OTHER_ID)]), ok(None))
            .on("GET", self.PATH, ok(self.row()), failure(404, "NOT_FOUND"))
            .on("DELETE", self.PATH, Reply(204), failure(404, "NOT_FOUND"))
        )
        async with platform.client() as cloud:
            keys = cloud.ssh_keys
            made = await keys.create(name="mine", public_key=PUBLIC_KEY, deadline=soon())
            assert (made.id, made.public_key) == (ID, PUBLIC_KEY)
            with pytest.raises(Conflict):
                await keys.create(name="mine", public_key=PUBLIC_KEY, deadline=soon())
            with pytest.raises(UnknownOutcome):
                await keys.create(name="mine", public_key=PUBLIC_KEY, deadline=soon())
            assert [one.id for one in await keys.list(deadline=soon())] == [ID, OTHER_ID]
            assert await keys.list(deadline=soon()) == ()
            assert await keys.get(ID, deadline=soon()) == made
            assert await keys.get(ID, deadline=soon()) == Gone("ssh_key", ID)
            await keys.delete(ID, deadline=soon())
            with pytest.raises(Missing):
                await keys.delete(ID, deadline=soon())
        assert len(platform.asked("POST")) == 3
        assert json.loads(platform.asked()[0].content) == {"name": "mine", "public_key": PUBLIC_KEY}


class TestApiKeys:
    PATH = f"/auth/keys/{ID}"

    def row(self, **fields):
        return {"id": ID, "user_id": OTHER_ID, "name": "k8s-dev", "created_at": "0001-01-01T00:00:00Z"} | fields

    @virtual
    async def test_the_secret_is_in_the_answer_to_making_one_and_in_no_repr(self):
        platform = Platform(features=None).on("POST", "/auth/keys", ok(self.row(key=SECRET), 201))
        async with platform.client() as cloud:
            made = await cloud.api_keys.create(name="k8s-dev", deadline=soon())
        assert (made.key.id, made.key.name, made.key.created_at, made.secret) == (ID, "k8s-dev", None, SECRET)
        assert SECRET not in f"{made!r} {made} {made.key!r}"

    @virtual
    async def test_a_listing_that_shows_the_keys_does_not_give_them_away(self):
        rows = [self.row(key=SECRET), self.row(id=OTHER_ID, key=SECRET)]
        platform = Platform(features=None).on("GET", "/auth/keys", raw_500(), ok(rows), ok(None))
        async with platform.client() as cloud:
            listed = await cloud.api_keys.list(deadline=soon())
            assert await cloud.api_keys.list(deadline=soon()) == ()
        assert [one.id for one in listed] == [ID, OTHER_ID]
        assert SECRET not in repr(listed)
        assert not any(hasattr(one, "key") for one in listed)

    @virtual
    @pytest.mark.parametrize("answer", [LOST, raw_500(), ok({"id": ID, "name": "k8s-dev"}, 201)])
    async def test_it_is_made_once_however_it_ends(self, answer):
        platform = Platform(features=None).on("POST", "/auth/keys", answer)
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.api_keys.create(name="k8s-dev", deadline=soon())
        assert len(platform.asked("POST")) == 1

    @virtual
    async def test_an_answer_that_cannot_be_read_does_not_give_the_key_away(self):
        platform = Platform(features=None).on("POST", "/auth/keys", ok({"id": 5, "key": SECRET}, 201))
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome) as caught:
                await cloud.api_keys.create(name="k8s-dev", deadline=soon())
        assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"

    @virtual
    async def test_one_that_is_not_there_is_missing(self):
        gone = failure(404, "OBJECT_NOT_FOUND")
        platform = Platform(features=None).on("DELETE", self.PATH, Reply(204), gone)
        async with platform.client() as cloud:
            await cloud.api_keys.revoke(ID, deadline=soon())
            with pytest.raises(Missing):
                await cloud.api_keys.revoke(ID, deadline=soon())
            with pytest.raises(Missing):
                await cloud.api_keys.revoke("mine", deadline=soon())
        assert len(platform.asked()) == 2
