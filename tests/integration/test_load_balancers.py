"""Load balancers with real proxies, between namespaces that play instances and a client (root)."""

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devcloud.balancing.process import find_ours
from devcloud.nspawn.backend import network_of
from devcloud.nspawn.network import in_namespace
from tests.support.certificates import MISSING_OPENSSL, make_certificate
from tests.support.devcloud import devcloud_server, make_settings
from tests.support.load_balancers import CLIENT, NETWORK, World, can_run, leftovers, trusting, until, world

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(can_run()), reason=can_run() or "runs"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]
PODS = ("--pod-network", "192.168.0.0/16")
CHECK = {"protocol": "tcp", "port": 30999, "interval_s": 1, "timeout_s": 1, "rise": 1, "fall": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("lb") / "data", "i1", "i2") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared: World) -> AsyncIterator[World]:
    yield shared
    await shared.forget()


def listener(protocol: str = "tcp", port: int = 80, **more: Any) -> dict[str, Any]:
    return {"name": "l", "protocol": protocol, "port": port, "target_port": 30080, **more}


def address_of(balancer: Any) -> str:
    return str(balancer["addresses"][0]["address"])


async def test_tcp_reaches_all_targets_and_a_deleted_one_no_more(site: World) -> None:
    first, second = site.instances
    for one in site.instances:
        await one.serve_tcp(30080)
    made = await site.balance([listener()], first, second)
    address = address_of(made)

    assert {await site.ask(address, 80) for _ in range(6)} == {b"i1 hello\n", b"i2 hello\n"}
    await site.put(made, targets=[{"instance_id": second.id}])
    await until_only(site, address, b"i2 hello\n")
    await site.data("DELETE", f"/lb/{made['id']}")

    async def refused() -> bool:
        return await site.ask(address, 80) == b""

    await until(refused)


async def until_only(site: World, address: str, wanted: bytes) -> None:
    async def look() -> bool:
        return {await site.ask(address, 80) for _ in range(4)} == {wanted}

    await until(look)


async def test_udp_reaches_a_target_and_spares_those_that_are_not_allowed(site: World) -> None:
    first, second = site.instances
    await first.serve_udp(30080)
    made = await site.balance([listener("udp", 53)], first)
    address = address_of(made)

    assert await site.ask_udp(address, 53) == b"i1 hello"
    await site.put(made, listeners=[listener("udp", 53, denied_sources=[f"{CLIENT}/32"])])

    async def silent() -> bool:
        return await site.ask_udp(address, 53, timeout_s=0.3) == b""

    await until(silent)
    await site.put(made, listeners=[listener("udp", 53, allowed_sources=["198.51.100.0/24"])])

    async def answers() -> bool:
        return await site.ask_udp(address, 53, timeout_s=0.3) == b"i1 hello"

    await until(answers)
    assert second.seen == []


async def test_a_udp_session_that_was_refused_goes_on_when_its_target_is_there(site: World) -> None:
    first, _ = site.instances
    made = await site.balance([listener("udp", 53)], first)
    address = address_of(made)

    async def answer() -> bool:
        return await site.ask_udp(address, 53, timeout_s=0.3, source_port=54321) == b"i1 hello"

    # Once: of a second refusal nginx learns when it sends, and then begins anew.
    assert not await answer()
    await first.serve_udp(30080)
    await until(answer)


async def test_http_tells_targets_who_asked_and_leads_to_https(site: World) -> None:
    first = site.instances[0]
    await first.serve_http(30080)
    redirect = {**listener("http", 81, redirect_port=8443), "name": "r"}
    made = await site.balance([listener("http"), redirect], first)
    address = address_of(made)

    status, _, body = await site.get(address, 80)
    seen = json.loads(body)["headers"]
    assert status == 200
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-port"]) == (CLIENT, "http", "80")
    status, headers, _ = await site.get(address, 81, host="shop.example:81", path="/a?b=c")
    assert (status, headers["location"]) == (308, "https://shop.example:8443/a?b=c")


async def test_https_and_tls_show_the_certificate_of_the_name(site: World, tmp_path: Path) -> None:
    if MISSING_OPENSSL:
        pytest.skip(MISSING_OPENSSL)
    first = site.instances[0]
    await first.serve_http(30080)
    await first.serve_tcp(30081)
    ids, texts = [], []
    for name in ("one.example", "two.example"):
        folder = tmp_path / name
        folder.mkdir()
        make_certificate(folder, f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
        texts.append((folder / "ca.crt").read_text())
        body = {"name": name, "certificate_pem": texts[-1], "private_key_pem": (folder / "key").read_text()}
        ids.append((await site.data("POST", "/certificates", json=body))["id"])
    tls = {**listener("tls", 8443, certificate_ids=ids, tls_policy="modern"), "name": "t", "target_port": 30081}
    made = await site.balance([listener("https", 443, certificate_ids=ids), tls], first)
    address = address_of(made)

    for name, text in zip(("one.example", "two.example"), texts, strict=True):
        options = {"ssl": trusting(text), "server_hostname": name}
        status, _, body = await site.get(address, 443, host=name, **options)
        assert (status, json.loads(body)["headers"]["x-forwarded-proto"]) == (200, "https")
        assert await site.ask(address, 8443, **options) == b"i1 hello\n"
    old = trusting(texts[0])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await site.connect(address, 8443, ssl=old, server_hostname="one.example")
    folder = site.balancers_dir / made["id"]
    assert {oct(path.stat().st_mode & 0o777) for path in folder.glob("*.pem")} == {"0o600"}


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_proxy_protocol_tells_the_client_s_address(site: World, version: str) -> None:
    first = site.instances[0]
    await first.serve_tcp(30080)
    made = await site.balance([listener(proxy_protocol=version)], first)

    _, writer = await site.connect(address_of(made), 80)
    writer.write(b"hello\n")

    async def arrived() -> bool:
        return any(one["line"].endswith(b"hello\n") for one in first.seen)

    await until(arrived)
    writer.close()
    received = b"".join(one["line"] for one in first.seen)
    packed = bytes(int(part) for part in CLIENT.split("."))
    assert received.startswith(f"PROXY TCP4 {CLIENT} ".encode() if version == "v1" else b"\r\n\r\n\0\r\nQUIT\n")
    assert version == "v1" or packed in received


async def test_sources_that_are_not_allowed_are_closed(site: World) -> None:
    first = site.instances[0]
    await first.serve_tcp(30080)
    ways = {
        81: {"denied_sources": [f"{CLIENT}/32"]},
        82: {"allowed_sources": ["203.0.113.0/24"]},
        83: {"allowed_sources": ["198.51.100.0/24"], "denied_sources": [f"{CLIENT}/32"]},
        84: {"allowed_sources": ["198.51.100.0/24"], "denied_sources": ["198.51.100.64/26"]},
    }
    made = await site.balance([{**listener(port=port, **way), "name": f"l{port}"} for port, way in ways.items()], first)

    answers = [await site.ask(address_of(made), port) for port in ways]
    assert answers == [b"", b"", b"", b"i1 hello\n"]


async def test_client_stays_with_its_target(site: World) -> None:
    for one in site.instances:
        await one.serve_http(30080)
    cookie = {"mode": "cookie", "cookie_name": "STAY"}
    by_source = {**listener("tcp", 81, sticky={"mode": "source-ip"}), "name": "s"}
    made = await site.balance([listener("http", sticky=cookie), by_source], *site.instances)
    address = address_of(made)

    names = {json.loads((await site.get(address, 81))[2])["name"] for _ in range(6)}
    _, headers, _ = await site.get(address, 80)
    assert len(names) == 1
    assert headers["set-cookie"].startswith("STAY=")


async def test_unhealthy_target_gets_nothing(site: World) -> None:
    first, second = site.instances
    for one in site.instances:
        await one.serve_tcp(30080)
        await one.serve_udp(30053)
        await one.serve_http(30999)
    check = {**CHECK, "protocol": "http", "path": "/healthz"}
    udp = {**listener("udp", 53, health_check=check), "name": "u", "target_port": 30053}
    made = await site.balance([listener(health_check=check), udp], first, second)
    address = address_of(made)
    for name in ("l", "u"):
        await site.settle_health(made, {"i1": "healthy", "i2": "healthy"}, name)

    await second.stop(30999)
    await second.serve_http(30999, status=503)
    for name in ("l", "u"):
        await site.settle_health(made, {"i1": "healthy", "i2": "unhealthy"}, name)

    async def udp_only_first() -> bool:
        return {await site.ask_udp(address, 53) for _ in range(6)} == {b"i1 hello"}

    await until(udp_only_first)
    assert {await site.ask(address, 80) for _ in range(6)} == {b"i1 hello\n"}
    # A new configuration does not let it in again.
    await site.put(made, listeners=[listener(health_check=check), udp, {**listener("tcp", 90), "name": "new"}])

    async def new_port() -> bool:
        return await site.ask(address, 90) != b""

    await until(new_port)
    assert {await site.ask(address, 80) for _ in range(6)} == {b"i1 hello\n"}
    await second.stop(30999)
    await second.serve_http(30999)
    await site.settle_health(made, {"i1": "healthy", "i2": "healthy"})


async def test_change_keeps_open_connections(site: World) -> None:
    first, second = site.instances
    for one in site.instances:
        await one.serve_tcp(30080)
    made = await site.balance([listener()], first)
    reader, writer = await site.connect(address_of(made), 80)
    writer.write(b"one\n")
    assert await reader.readline() == b"i1 one\n"

    await site.put(made, targets=[{"instance_id": second.id}])
    await until_only(site, address_of(made), b"i2 hello\n")
    writer.write(b"two\n")

    assert await reader.readline() == b"i1 two\n"
    writer.close()


async def test_client_s_address_is_kept(site: World) -> None:
    if "lb.transparent" not in (await site.data("GET", "/capabilities"))["features"]:
        pytest.skip("this host cannot do it")
    first = site.instances[0]
    await first.serve_tcp(30080)
    await first.serve_udp(30053)
    udp = {**listener("udp", 53, transparent=True), "name": "u", "target_port": 30053}
    made = await site.balance([listener(transparent=True), udp], first)

    assert await site.ask(address_of(made), 80) == b"i1 hello\n"
    assert await site.ask_udp(address_of(made), 53) == b"i1 hello"
    assert [one["peer"] for one in first.seen] == [CLIENT, CLIENT]


async def test_killed_proxies_come_back(site: World) -> None:
    first = site.instances[0]
    await first.serve_tcp(30080)
    await first.serve_udp(30080)
    made = await site.balance([listener(), {**listener("udp", 53), "name": "u"}], first)
    for process in await asyncio.to_thread(find_ours, site.site):
        if not _has_parent_of_ours(process.pid):
            os.kill(process.pid, signal.SIGKILL)

    async def answers() -> bool:
        address = address_of(made)
        udp = await site.ask_udp(address, 53, timeout_s=0.3)
        return (await site.ask(address, 80), udp) == (b"i1 hello\n", b"i1 hello") and await _masters(site) == 2

    await until(answers)


async def _masters(site: World) -> int:
    found = await asyncio.to_thread(find_ours, site.site)
    return sum(not _has_parent_of_ours(process.pid) for process in found)


def _has_parent_of_ours(pid: int) -> bool:
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/exe").readlink().name in {"haproxy", "nginx"}
    except OSError:
        return False


async def test_static_address_serves_and_outlives_its_load_balancer(site: World) -> None:
    first = site.instances[0]
    await first.serve_tcp(30080)
    kept = await site.data("POST", "/elastic-ips", json={"name": "kept"})
    made = await site.balance([listener()], first, static_addresses=[kept["public_ip"]])

    assert await site.ask(kept["public_ip"], 80) == b"i1 hello\n"
    await site.data("DELETE", f"/lb/{made['id']}")
    assert (await site.data("GET", f"/elastic-ips/{kept['id']}"))["status"] == "allocated"
    await site.data("DELETE", f"/elastic-ips/{kept['id']}")


async def test_load_balancer_that_cannot_be_made_leaves_what_was_there_and_heals(site: World) -> None:
    first = site.instances[0]
    await first.serve_tcp(30080)
    well = await site.balance([listener()], first)
    made = await site.balance([listener()], first)
    taken = await asyncio.to_thread(occupy, site, address_of(made), 81)
    reader, writer = await site.connect(address_of(made), 80)
    try:
        await site.put(made, listeners=[listener(), {**listener(port=81), "name": "m"}])
        broken = await site.settle(made["id"], "ERROR")
        assert "81" in broken["status_reason"]
        assert await site.ask(address_of(well), 80) == b"i1 hello\n"
        assert await site.ask(address_of(made), 80) == b"i1 hello\n"
        writer.write(b"still\n")
        assert await reader.readline() == b"i1 still\n"
    finally:
        taken.close()
        writer.close()

    healed = await site.settle(made["id"])
    assert healed["status_reason"] == ""
    assert await site.ask(address_of(made), 81) == b"i1 hello\n"


def occupy(site: World, address: str, port: int) -> socket.socket:
    """Have a port of a load balancer's address, so that its proxy cannot."""

    def work() -> socket.socket:
        made = socket.socket()
        made.bind((address, port))
        made.listen()
        return made

    return in_namespace(site.site.path, work)


async def test_strict_tier_serves_http_at_the_platform_s_address(tmp_path: Path) -> None:
    async with world(tmp_path / "data", tier="strict", lb_tick_s=0.1) as made:
        vpc = (await made.data("GET", "/vpcs"))[0]["id"]
        first = await made.add_instance("i1", vpc_id=vpc)
        await first.serve_http(30080)
        body = {"name": "web", "vpc_id": vpc, "port": 8000}
        balancer = await made.data("POST", "/lb", json=body)
        target = {"instance_id": first.id, "port": 30080}
        await made.data("POST", f"/lb/{balancer['id']}/targets", json=target)
        await made.settle(balancer["id"])

        async def answers() -> bool:
            return (await made.get(made.site.gateway, 8000))[0] == 200

        await until(answers)
        await made.data("DELETE", f"/lb/{balancer['id']}")

        async def refused() -> bool:
            return (await made.get(made.site.gateway, 8000))[0] == 0

        await until(refused)


async def test_load_balancers_outlive_a_killed_platform_and_nothing_outlives_its_reset(tmp_path: Path) -> None:
    (tmp_path / "image/root/sbin").mkdir(parents=True)
    # Nothing can boot from it: the instance is in ERROR, with an address, and a namespace plays it.
    (tmp_path / "image/root/sbin/init").touch()
    words = ("--machine-image", f"debian={tmp_path / 'image'}", "--network", str(NETWORK), "--no-fsync", *PODS)
    data_dir = tmp_path / "data"
    running = devcloud_server(data_dir, backend="nspawn", nodes=(), subprocess=True, arguments=words)
    async with running as served, served.client() as client:
        made = World(client, network_of(make_settings(data_dir, network=NETWORK)), "none")
        try:
            await made.add_client()
            first = await made.add_instance("i1", image="debian", status="ERROR")
            await first.serve_tcp(30080)
            balancer = await made.balance([listener()], first)
            reader, writer = await made.connect(address_of(balancer), 80)
            before = await asyncio.to_thread(find_ours, made.site)

            await served.kill()
            assert await made.ask(address_of(balancer), 80) == b"i1 hello\n"
            await served.restart()
            await made.settle(balancer["id"])
            await made.put(balancer, listeners=[listener(port=81)])

            async def moved() -> bool:
                return await made.ask(address_of(balancer), 81) == b"i1 hello\n"

            await until(moved)
            writer.write(b"still\n")
            assert await reader.readline() == b"i1 still\n"
            writer.close()
            assert set(before) & set(await asyncio.to_thread(find_ours, made.site))
        finally:
            await made.remove_spaces()
    assert leftovers(made.site) == []
