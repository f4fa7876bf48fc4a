"""Key pairs and credentials: named after the cluster's id, deleted by their own; secrets appear nowhere."""

import logging

import pytest

from devcloud.faults import Kind as Trouble
from devcloud.rows import API_KEYS, SSH_KEYS
from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, CredentialFacts, External, Kind
from tests.unit.kaas.drivers_thecloud.conftest import (
    CLUSTER,
    CREDENTIAL,
    KEY_PAIR,
    OTHER,
    OTHER_KEY,
    PUBLIC_KEY,
    Site,
    credential,
    key_pair,
    soon,
)


async def keys_of_cluster(site: Site) -> list[str]:
    return [row.id for row in await site.rows(API_KEYS) if row.name == CREDENTIAL]


class TestKeyPairs:
    async def test_the_same_key_is_kept_once_and_found_by_its_cluster(self, both: Site) -> None:
        made = await both.driver.create(CLUSTER, key_pair(), deadline=soon())
        again = await both.driver.create(CLUSTER, key_pair(f"{PUBLIC_KEY} elsewhere"), deadline=soon())

        assert again == made
        assert [row.id for row in await both.rows(SSH_KEYS)] == [made.id]
        for name in ("", KEY_PAIR):
            assert await both.driver.find(Kind.KEY_PAIR, CLUSTER, name=name, deadline=soon()) == [made]
        assert await both.driver.find(Kind.KEY_PAIR, OTHER, deadline=soon()) == []
        assert await both.driver.find(Kind.KEY_PAIR, CLUSTER, name="k8s-dev", deadline=soon()) == []
        assert await both.driver.update(made, key_pair(), deadline=soon()) == made

    async def test_another_key_under_the_name_is_refused(self, both: Site) -> None:
        await both.driver.create(CLUSTER, key_pair(OTHER_KEY), deadline=soon())

        with pytest.raises(StepError, match="another public key") as refused:
            await both.driver.create(CLUSTER, key_pair(), deadline=soon())

        assert refused.value.code is Code.PLATFORM_REFUSED

    async def test_a_name_that_is_taken_by_what_is_not_listed_is_unknown(self, both: Site) -> None:
        both.trouble(Trouble.STALE_READ, "/ssh-keys", "GET", count=None, seconds=600.0)
        await both.driver.create(CLUSTER, key_pair(), deadline=soon())

        with pytest.raises(StepError, match="lists no such key") as unknown:
            await both.driver.create(CLUSTER, key_pair(), deadline=soon())

        assert unknown.value.code is Code.PLATFORM_UNAVAILABLE

    async def test_a_text_that_is_no_key_is_refused(self, both: Site) -> None:
        with pytest.raises(StepError) as refused:
            await both.driver.create(CLUSTER, key_pair("no key"), deadline=soon())

        assert refused.value.code is Code.PLATFORM_REFUSED

    async def test_deletion_is_of_the_recorded_id_under_the_recorded_name(self, both: Site) -> None:
        made = await both.driver.create(CLUSTER, key_pair(), deadline=soon())
        theirs = await both.call("POST", "/ssh-keys", name="mine", public_key=OTHER_KEY)

        with pytest.raises(StepError, match="left as it is"):
            await both.driver.delete(External(Kind.KEY_PAIR, theirs["id"], KEY_PAIR, Condition.READY), deadline=soon())
        for _ in range(2):
            await both.driver.delete(External(Kind.KEY_PAIR, made.id, KEY_PAIR, Condition.READY), deadline=soon())

        assert [row.id for row in await both.rows(SSH_KEYS)] == [theirs["id"]]


class TestCredentials:
    async def test_the_secret_works_is_told_once_and_shown_to_nobody(
        self, both: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        made = await both.driver.create(CLUSTER, credential(), deadline=soon())

        assert isinstance(made.facts, CredentialFacts)
        secret = made.facts.secret
        async with both.served.client(headers={"X-API-Key": secret}) as http:
            assert (await http.get("/volumes")).status_code == 200
        (found,) = await both.driver.find(Kind.CREDENTIAL, CLUSTER, name=CREDENTIAL, deadline=soon())
        assert (found.id, found.facts) == (made.id, CredentialFacts())
        assert secret not in f"{made!r} {found!r} {caplog.text}"
        assert await both.driver.find(Kind.CREDENTIAL, OTHER, deadline=soon()) == []

    async def test_keys_whose_secret_was_lost_end_when_the_next_is_made(self, both: Site) -> None:
        for trouble in (Trouble.LOST_ANSWER, Trouble.TRUNCATED_BODY, Trouble.ERROR_AFTER):
            both.trouble(trouble, "/auth/keys")
            with pytest.raises(StepError) as unknown:
                await both.driver.create(CLUSTER, credential(), deadline=soon())
            assert unknown.value.code is Code.PLATFORM_UNAVAILABLE
            assert "thecloud_" not in unknown.value.message
            assert len(await keys_of_cluster(both)) == 1

        made = await both.driver.create(CLUSTER, credential(), deadline=soon())

        assert await keys_of_cluster(both) == [made.id]

    async def test_deletion_is_of_the_recorded_id_under_the_recorded_name(self, both: Site) -> None:
        made = await both.driver.create(CLUSTER, credential(), deadline=soon())
        own = next(row.id for row in await both.rows(API_KEYS) if row.name == "Default Key")

        with pytest.raises(StepError, match="left as it is"):
            await both.driver.delete(External(Kind.CREDENTIAL, own, CREDENTIAL, Condition.READY), deadline=soon())
        for _ in range(2):
            await both.driver.delete(External(Kind.CREDENTIAL, made.id, CREDENTIAL, Condition.READY), deadline=soon())

        assert [row.id for row in await both.rows(API_KEYS)] == [own]
