"""Certificates, networks, public addresses, and what instances tell about the network."""

import json

import pytest

from tests.unit.thecloud.scripted import (
    INSTANCE_ID,
    OTHER_ID,
    Platform,
    broken,
    failure,
    ok,
    plain_404,
    raw_500,
    soon,
)
from tests.unit.thecloud.virtual_time import virtual
from thecloud.errors import Conflict, Misrouted, Missing, Refused, UnknownOutcome, Unsupported
from thecloud.lean_httpx import httpx
from thecloud.presence import Gone

LOST = broken(httpx.ReadError("lost"))
ID = "4f1c2d3e-0000-4000-8000-0000000000ee"


def sent(request):
    return json.loads(request.content)


class TestInstances:
    @virtual
    async def test_the_network_fields_are_read_and_masks_and_zeros_dropped(self):
        rows = [
            {"private_ip": "10.0.1.5/32", "public_ip": "203.0.113.7/32", "instance_type": "basic-1", "vpc_id": ID},
            {"vpc_id": "00000000-0000-0000-0000-000000000000", "public_ip": "", "region": "r1", "instance_type": ""},
        ]
        listed = [{"id": INSTANCE_ID, "name": "n", "status": "RUNNING"} | row for row in rows]
        platform = Platform(features=None).on("GET", "/instances", ok(listed))
        async with platform.client() as cloud:
            first, second = await cloud.instances.list(deadline=soon())
        assert (first.private_ip, first.public_ip) == ("10.0.1.5", "203.0.113.7")
        assert (first.instance_type, first.vpc_id, first.region) == ("basic-1", ID, None)
        assert (second.instance_type, second.vpc_id, second.public_ip, second.region) == (None, None, None, "r1")

    @virtual
    async def test_a_read_takes_no_listing_for_an_answer(self):
        platform = (
            Platform()
            .on("GET", f"/instances/{INSTANCE_ID}", failure(404, "NOT_FOUND", resource="tenant"), plain_404())
            .on("GET", "/instances", ok([]))
        )
        async with platform.client() as cloud:
            with pytest.raises(Missing) as caught:
                await cloud.instances.read(INSTANCE_ID, deadline=soon())
            assert (caught.value.error_type, caught.value.resource) == ("NOT_FOUND", "tenant")
            with pytest.raises(Misrouted):
                await cloud.instances.read(INSTANCE_ID, deadline=soon())
        assert platform.asked("GET", "/instances") == []


class TestCertificates:
    PATH = f"/certificates/{ID}"

    def row(self, **fields):
        return {"id": ID, "name": "web", "fingerprint_sha256": "ab", "dns_names": None} | fields

    @virtual
    async def test_the_whole_life(self):
        platform = (
            Platform(features=("lb.certificates",))
            .on("POST", "/certificates", LOST, ok(self.row(), 201))
            .on("GET", "/certificates", ok([self.row(), self.row(id=OTHER_ID, name="other")]))
            .on("GET", self.PATH, ok(self.row()), failure(404, "NOT_FOUND", resource="certificate"))
            .on("DELETE", self.PATH, failure(409, "CONFLICT", reason="in_use"), ok({}))
        )
        async with platform.client() as cloud:
            certificates = cloud.certificates
            made = await certificates.create(
                name="web", certificate_pem="C", private_key_pem="K", idempotency_key="k", deadline=soon()
            )
            assert made.dns_names == ()
            assert [one.id for one in await certificates.find_by_name("web", deadline=soon())] == [ID]
            assert len(await certificates.list(tag=("a", "b"), deadline=soon())) == 2
            assert (await certificates.get(ID, deadline=soon())).name == "web"
            with pytest.raises(Conflict) as caught:
                await certificates.delete(ID, guard_tag=("a", "b"), deadline=soon())
            assert caught.value.reason == "in_use"
            await certificates.delete(ID, deadline=soon())
            assert await certificates.get(ID, deadline=soon()) == Gone("certificate", ID)
        assert sent(platform.asked()[1]) == {"name": "web", "certificate_pem": "C", "private_key_pem": "K"}
        assert platform.calls()[2:4] == ["GET /certificates?name=web", "GET /certificates?tag=a%3Ab"]

    @virtual
    async def test_the_key_of_a_certificate_is_in_no_repr_of_a_failure(self):
        platform = Platform(features=("lb.certificates",)).on("POST", "/certificates", raw_500())
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome) as caught:
                await cloud.certificates.create(
                    name="web", certificate_pem="C", private_key_pem="SECRET", idempotency_key="k", deadline=soon()
                )
        assert "SECRET" not in f"{caught.value!r} {caught.value}"

    @virtual
    async def test_where_there_are_none_nothing_is_asked(self):
        platform = Platform(features=None)
        async with platform.client() as cloud:
            for attempt in (
                cloud.certificates.list(deadline=soon()),
                cloud.certificates.get(ID, deadline=soon()),
                cloud.certificates.delete(ID, deadline=soon()),
            ):
                with pytest.raises(Unsupported):
                    await attempt
        assert platform.asked() == []


class TestNetworks:
    @virtual
    async def test_a_network_with_a_key_is_made_once_however_often_it_is_asked_for(self):
        row = {"id": ID, "name": "net", "cidr_block": "10.0.0.0/16", "status": "active"}
        platform = Platform(features=None).on("POST", "/vpcs", LOST, ok(row, 201)).on("GET", "/vpcs", ok([row]), ok())
        platform.on("GET", f"/vpcs/{ID}", failure(404, "NOT_FOUND"))
        async with platform.client() as cloud:
            made = await cloud.vpcs.create(name="net", idempotency_key="k", deadline=soon())
            assert await cloud.vpcs.list(deadline=soon()) == (made,)
            assert await cloud.vpcs.list(deadline=soon()) == ()
            assert await cloud.vpcs.get(ID, deadline=soon()) == Gone("vpc", ID)
        assert [request.headers["Idempotency-Key"] for request in platform.asked("POST")] == ["k", "k"]


class TestElasticIps:
    PATH = f"/elastic-ips/{ID}"

    def row(self, **fields):
        return {"id": ID, "public_ip": "100.64.0.9/32", "status": "allocated"} | fields

    @virtual
    async def test_extended_an_allocation_with_a_key_is_repeated(self):
        platform = Platform(features=("address.tags",)).on("POST", "/elastic-ips", LOST, ok(self.row(lb_id=ID), 201))
        async with platform.client() as cloud:
            made = await cloud.elastic_ips.allocate(name="web", tags={"a": "b"}, idempotency_key="k", deadline=soon())
        assert (made.public_ip, made.lb_id) == ("100.64.0.9", ID)
        assert sent(platform.asked()[1]) == {"name": "web", "tags": {"a": "b"}}

    @virtual
    async def test_strict_it_is_not_since_a_second_address_would_leak(self):
        platform = Platform(features=None).on("POST", "/elastic-ips", LOST)
        async with platform.client() as cloud:
            with pytest.raises(UnknownOutcome):
                await cloud.elastic_ips.allocate(idempotency_key="k", deadline=soon())
            with pytest.raises(Unsupported):
                await cloud.elastic_ips.allocate(tags={"a": "b"}, deadline=soon())
        assert len(platform.asked()) == 1
        assert platform.asked()[0].content == b""

    @virtual
    async def test_to_give_and_to_take(self):
        platform = (
            Platform(features=None)
            .on("POST", f"{self.PATH}/associate", LOST, ok(self.row(instance_id=INSTANCE_ID, status="associated")))
            .on("POST", f"{self.PATH}/disassociate", ok(self.row()), failure(400, "INVALID_INPUT"))
            .on("DELETE", self.PATH, failure(409, "CONFLICT"), ok({}))
            .on("GET", self.PATH, failure(404, "NOT_FOUND"))
            .on("GET", "/elastic-ips", ok(None))
        )
        async with platform.client() as cloud:
            addresses = cloud.elastic_ips
            assert (await addresses.associate(ID, INSTANCE_ID, deadline=soon())).instance_id == INSTANCE_ID
            assert (await addresses.disassociate(ID, deadline=soon())).instance_id is None
            with pytest.raises(Refused):
                await addresses.disassociate(ID, deadline=soon())
            with pytest.raises(Conflict):
                await addresses.release(ID, deadline=soon())
            await addresses.release(ID, deadline=soon())
            assert await addresses.get(ID, deadline=soon()) == Gone("elastic_ip", ID)
            assert await addresses.list(deadline=soon()) == ()
