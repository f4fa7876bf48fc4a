"""Preflight: every problem at once, before anything is made."""

from dataclasses import replace
from pathlib import Path

import pytest

from devcloud.faults import Kind as Trouble
from kaas.domain.errors import Code, StepError
from kaas.domain.model import ClusterSpec, Cni, GroupSpec, Role
from kaas.drivers.thecloud.options import DriverOptions
from tests.unit.kaas.drivers_thecloud.conftest import Site, running, soon

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"


def group(name: str, role: Role, size: int, instance_type: str) -> GroupSpec:
    return GroupSpec(name, role, size, min_size=1, max_size=9, instance_type=instance_type)


SPEC = ClusterSpec(
    version="v1.36.3",
    vpc_id="",
    pod_cidr="192.168.0.0/16",
    service_cidr="10.96.0.0/12",
    cni=Cni.FLANNEL,
    image="kubernetes-v1.36.3",
    groups=(
        group("control-plane", Role.CONTROL_PLANE, 1, "standard-1"),
        group("default-pool", Role.WORKER, 2, "basic-1"),
    ),
)


def with_control_plane(spec: ClusterSpec, *, size: int = 1, instance_type: str = "standard-1") -> ClusterSpec:
    return replace(spec, groups=(group("control-plane", Role.CONTROL_PLANE, size, instance_type), *spec.worker_groups))


async def problems(site: Site, spec: ClusterSpec) -> dict[str, str]:
    return {one.field: one.message for one in await site.driver.preflight(spec, deadline=soon())}


async def test_a_cluster_that_can_be_has_no_problems(both: Site) -> None:
    assert await problems(both, SPEC) == {}
    assert await problems(both, replace(SPEC, vpc_id=await both.vpc_id())) == {}


async def test_high_availability_needs_an_endpoint(both: Site) -> None:
    found = await problems(both, with_control_plane(SPEC, size=3))

    assert set(found) == ({"ha"} if both.is_strict else set())


async def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, "strict", DriverOptions(images=("kubernetes-v1.35.0",))) as site:
        spec = replace(
            with_control_plane(SPEC, size=3, instance_type="basic-2"),
            vpc_id=NOWHERE,
            version="v1.29.0",
            zones=("zone-9",),
        )
        workers = (group("a", Role.WORKER, 1, "standard-1"), group("b", Role.WORKER, 1, "huge-1"))
        found = await problems(site, replace(spec, groups=(spec.control_plane, *workers)))

    assert set(found) == {
        "vpc_id",
        "control_plane.instance_type",
        "node_groups[1].instance_type",
        "image",
        "version",
        "zones",
        "ha",
    }
    assert "needs 2 and 1700" in found["control_plane.instance_type"]
    assert "standard-1" in found["control_plane.instance_type"]
    assert "basic-1" in found["node_groups[1].instance_type"]
    assert "kubernetes-v1.35.0" in found["image"]


async def test_zones_are_those_of_the_platform(extended: Site) -> None:
    assert await problems(extended, replace(SPEC, zones=("zone-1",))) == {}
    found = await problems(extended, replace(SPEC, zones=("zone-1", "zone-9")))

    assert "zone-9" in found["zones"]


async def test_ranges_of_the_cluster_must_not_overlap_with_the_vpc(both: Site) -> None:
    vpc = await both.call("POST", "/vpcs", name="net", cidr_block="192.168.4.0/24")
    wide = replace(SPEC, service_cidr="10.0.0.0/12")

    assert set(await problems(both, replace(SPEC, vpc_id=vpc["id"]))) == {"pod_cidr"}
    assert set(await problems(both, wide)) == {"service_cidr"}


async def test_an_image_is_needed_and_one_without_a_version_fits_any(both: Site) -> None:
    assert set(await problems(both, replace(SPEC, image=""))) == {"image"}
    assert await problems(both, replace(SPEC, image="ubuntu:22.04", version="v1.29.0")) == {}
    assert set(await problems(both, replace(SPEC, version="v1.29.0"))) == {"version"}


async def test_a_platform_that_does_not_answer_is_no_problem_of_the_request(both: Site) -> None:
    await both.driver.offers_endpoint(deadline=soon())
    both.trouble(Trouble.NOT_FOUND_PLAIN, "/vpcs/{ref}", "GET", count=None)

    with pytest.raises(StepError) as away:
        await both.driver.preflight(replace(SPEC, vpc_id=NOWHERE), deadline=soon())

    assert away.value.code is Code.PLATFORM_UNAVAILABLE


async def test_a_tenant_without_a_vpc_is_told_to_make_one(tmp_path: Path) -> None:
    async with running(tmp_path, "strict") as site:
        for row in await site.call("GET", "/instances"):
            await site.call("DELETE", f"/instances/{row['id']}")
        await site.call("DELETE", f"/vpcs/{await site.vpc_id()}")

        assert set(await problems(site, SPEC)) == {"vpc_id"}
