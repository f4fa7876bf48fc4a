"""What the tests of the strict tier look at and put in."""

from tests.unit.ccm.cloud.fake_platform import VPC_ID, uuid_of
from tests.unit.ccm.cloud.parts import CLUSTER, UID
from tests.unit.thecloud.scripted import broken
from thecloud.lean_httpx import httpx

LOST = broken(httpx.ReadError("lost"))


def alive(platform):
    rows = [row for row in platform.balancers.values() if row["status"] != "DELETED"]
    return {row["name"]: row for row in rows}


def sent_to(platform, port, uid=UID):
    row = alive(platform)[f"{CLUSTER}.{uid}.{port}"]
    return {one["instance_id"]: (one["port"], one["weight"]) for one in platform.targets.get(row["id"], {}).values()}


def put_row(platform, name, *, number=0x900, **fields):
    lb_id = uuid_of(number)
    row = {"id": lb_id, "name": name, "port": 80, "algorithm": "round-robin", "status": "ACTIVE", "vpc_id": VPC_ID}
    platform.balancers[lb_id] = row | {"idempotency_key": f"other-{number}"} | fields
    return lb_id
