"""Certificates behind the port: marked, guarded, and their keys in no error."""

import pytest

from ccm.names import CLUSTER_TAG
from ccm.ports import Cause, CloudError
from tests.unit.ccm.cloud.fake_platform import FakePlatform, uuid_of
from tests.unit.ccm.cloud.parts import CLUSTER, MARK, cloud_on, strict
from tests.unit.thecloud.scripted import Reply, broken, failure, raw_500, soon
from tests.unit.thecloud.virtual_time import virtual
from thecloud.lean_httpx import httpx

LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
KEY = f"-----BEGIN PRIVATE KEY-----\n{LINE}\nMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3S\n-----END PRIVATE KEY-----\n"


async def create(certificates, name="web", pem="C", key=KEY):
    return await certificates.create(
        name, certificate_pem=pem, private_key_pem=key, tags={"a": "b"}, idempotency_key=f"k-{name}", deadline=soon()
    )


@virtual
async def test_the_whole_life():
    platform = FakePlatform()
    platform.fail("POST", "/certificates", broken(httpx.ReadError("lost")), after=True)
    async with platform.client() as client:
        certificates = cloud_on(client).certificates
        assert await certificates.mine(max_age_s=60.0, deadline=soon()) == ()
        made = await create(certificates)
        assert made.tags == {"a": "b", CLUSTER_TAG: CLUSTER}
        assert list(await certificates.mine(max_age_s=60.0, deadline=soon())) == [made]
        assert await certificates.find("web", deadline=soon()) == made
        assert await certificates.find(made.id, deadline=soon()) == made
        assert await certificates.find("we", deadline=soon()) is None
        assert await certificates.find(uuid_of(9), deadline=soon()) is None
        with pytest.raises(CloudError) as caught:
            await certificates.delete(made.id, guard=(CLUSTER_TAG, "other"), deadline=soon())
        assert caught.value.cause is Cause.GUARD
        platform.fail("DELETE", "/certificates/.*", failure(409, "CONFLICT", reason="in_use"))
        with pytest.raises(CloudError) as caught:
            await certificates.delete(made.id, guard=MARK, deadline=soon())
        assert (caught.value.cause, caught.value.reason) == (Cause.CONFLICT, "in_use")
        await certificates.delete(made.id, guard=MARK, deadline=soon())
        await certificates.delete(made.id, guard=MARK, deadline=soon())
        assert await certificates.mine(max_age_s=60.0, deadline=soon()) == ()
    assert platform.certificates == {}


@virtual
async def test_those_of_others_are_found_and_not_listed():
    platform = FakePlatform()
    theirs = uuid_of(7)
    platform.certificates[theirs] = {"id": theirs, "name": "wild", "fingerprint_sha256": "ab", "tags": {}}
    async with platform.client() as client:
        certificates = cloud_on(client).certificates
        assert (await certificates.find("wild", deadline=soon())).id == theirs
        assert await certificates.mine(max_age_s=0.0, deadline=soon()) == ()


@virtual
@pytest.mark.parametrize(
    "reply",
    [
        Reply(502, f"<pre>POST /certificates {LINE}</pre>".encode()),
        Reply(502, b"x" * 270 + LINE.encode()),
        failure(400, "INVALID_INPUT", f"cannot parse {KEY}"),
        failure(400, "INVALID_INPUT", "bad", seen=LINE),
    ],
)
async def test_no_error_quotes_the_key(reply):
    platform = FakePlatform()
    platform.fail("POST", "/certificates", reply, times=9)
    async with platform.client() as client:
        with pytest.raises(CloudError) as caught:
            await create(cloud_on(client).certificates)
    said = f"{caught.value} {caught.value.message} {caught.value.details} {caught.value.__cause__}"
    assert LINE[:16] not in said
    assert "PRIVATE KEY" not in said
    assert "quotes the private key" in said
    assert "'web'" in said


@virtual
async def test_other_errors_say_what_the_platform_said():
    platform = FakePlatform()
    platform.fail("POST", "/certificates", failure(409, "CONFLICT", "name web is taken", reason="name_taken"))
    async with platform.client() as client:
        with pytest.raises(CloudError, match="name web is taken") as caught:
            await create(cloud_on(client).certificates)
        assert caught.value.reason == "name_taken"
        platform.fail("POST", "/certificates", raw_500(), times=9)
        with pytest.raises(CloudError, match="unexpected error"):
            await create(cloud_on(client).certificates)


@virtual
async def test_strict_there_are_none():
    platform = strict()
    async with platform.client() as client:
        certificates = cloud_on(client).certificates
        assert await certificates.mine(max_age_s=0.0, deadline=soon()) == ()
        for attempt in (
            certificates.find("web", deadline=soon()),
            create(certificates),
            certificates.delete(uuid_of(1), guard=MARK, deadline=soon()),
        ):
            with pytest.raises(CloudError) as caught:
                await attempt
            assert caught.value.cause is Cause.UNSUPPORTED
    assert platform.requests == []
