import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from ccm.metrics import Metrics
from ccm.serving import server as module
from ccm.serving.access import Access, Memory
from ccm.serving.certificate import CertificateFiles, ServingCertificate
from ccm.serving.health import Health
from ccm.serving.server import ListenError, Renewal, SecureServer
from process.address import TcpEndpoint
from tests.unit.ccm.pki import Pair, client_context, make_authority, make_client, make_server
from tests.unit.ccm.serving.fake_reviews import FakeReviews

OPEN = ("/healthz", "/readyz", "/livez")


class Rig:
    def __init__(self, files: CertificateFiles | None = None) -> None:
        self.reviews = FakeReviews()
        self.health = Health()
        self.metrics = Metrics()
        self.certificate = ServingCertificate(files, address="127.0.0.1")
        access = Access(self.reviews, open_paths=OPEN, memory=Memory(), clock=asyncio.get_running_loop().time)
        self.server = SecureServer(
            TcpEndpoint("127.0.0.1", 0),
            self.certificate,
            access,
            self.health,
            metrics=self.metrics.render,
            config={"cluster-id": "c-1"},
        )

    def renewal(self, authorities_file: Path | None = None, *, asks_cluster: bool = True) -> Renewal:
        return Renewal(self.certificate, self.reviews, authorities_file=authorities_file, asks_cluster=asks_cluster)


@contextlib.asynccontextmanager
async def serving(files: CertificateFiles | None = None) -> AsyncIterator[Rig]:
    rig = Rig(files)
    async with rig.server:
        yield rig


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


async def ask(
    rig: Rig, path: str, *, method: str = "GET", token: str = "", context: ssl.SSLContext | None = None
) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"https://{rig.server.address.authority}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, ssl=context or client_context(None, Path()), headers=headers) as response,
    ):
        return Answer(response.status, response.headers, await response.text())


async def peer_of(rig: Rig) -> x509.Certificate:
    host, port = rig.server.address.host, rig.server.address.port
    _, writer = await asyncio.open_connection(host, port, ssl=client_context(None, Path()))
    try:
        connection: Any = writer.get_extra_info("ssl_object")
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
    finally:
        writer.close()


async def test_health_is_for_everyone_and_metrics_for_those_who_may() -> None:
    async with serving() as rig:
        for path in OPEN:
            assert (await ask(rig, path)).text == "ok"
        refused = await ask(rig, "/metrics")
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert (await ask(rig, "/metrics", token="bad")).status == 401
        assert (await ask(rig, "/metrics", token="weak")).status == 403
        answer = await ask(rig, "/metrics", token="good")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert "process_start_time_seconds" in names


async def test_checks_are_named_and_a_bad_one_gives_500() -> None:
    async with serving() as rig:
        with rig.health.alive("service-lb-controller", lambda: "stuck"), rig.health.ready("synced", str):
            answer = await ask(rig, "/healthz")
            assert answer.status == 500
            assert "[-]service-lb-controller failed: stuck" in answer.text
            assert (await ask(rig, "/healthz?exclude=service-lb-controller")).text == "ok"
            assert "[+]synced ok" in (await ask(rig, "/readyz?exclude=service-lb-controller&verbose")).text
        assert (await ask(rig, "/healthz")).status == 200


async def test_a_single_check_is_a_page_of_its_own() -> None:
    async with serving() as rig:
        rig.reviews.rights["reader"] |= {("get", "/healthz/ping"), ("get", "/healthz/none")}
        assert (await ask(rig, "/healthz/ping")).status == 401
        assert (await ask(rig, "/healthz/ping", token="good")).text == "ok\n"
        assert (await ask(rig, "/healthz/none", token="good")).status == 404


async def test_the_settings_in_use_can_be_read() -> None:
    async with serving() as rig:
        assert (await ask(rig, "/configz")).status == 401
        answer = await ask(rig, "/configz", token="good")
        assert json.loads(answer.text) == {"tc-ccm": {"cluster-id": "c-1"}}


async def test_a_path_that_is_not_there_is_no_way_around_the_question() -> None:
    async with serving() as rig:
        assert (await ask(rig, "/nothing")).status == 401
        assert (await ask(rig, "/nothing", token="good")).status == 404
        refused = await ask(rig, "/metrics", method="POST", token="good")
        assert refused.status == 405
        assert "GET" in refused.headers["Allow"]
        assert (await ask(rig, "/healthz/../metrics")).status == 401
        assert (await ask(rig, "//healthz")).status == 401


async def test_an_api_server_that_is_away_is_told_apart_from_a_refusal() -> None:
    async with serving() as rig:
        rig.reviews.is_away = True
        assert (await ask(rig, "/metrics", token="good")).status == 503
        assert (await ask(rig, "/healthz", token="good")).status == 200


async def test_without_files_the_certificate_signs_itself_and_names_the_loopback() -> None:
    async with serving() as rig:
        peer = await peer_of(rig)
        names = peer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "localhost" in names.get_values_for_type(x509.DNSName)
        assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
        peer.verify_directly_issued_by(peer)


async def test_a_certificate_that_was_rotated_is_shown_to_new_connections(tmp_path: Path) -> None:
    authority = make_authority("servers")
    first, second = make_server(authority, "first"), make_server(authority, "second")
    files = CertificateFiles(*first.write(tmp_path))
    async with serving(files) as rig:
        assert await peer_of(rig) == first.certificate
        second.write(tmp_path)
        await rig.renewal().look()
        assert await peer_of(rig) == second.certificate


async def test_a_pair_that_does_not_fit_is_not_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = make_authority("servers")
    first, second = make_server(authority, "first"), make_server(authority, "second")
    files = CertificateFiles(*first.write(tmp_path))
    async with serving(files) as rig:
        files.certificate.write_bytes(second.certificate_pem)
        renewal = rig.renewal()
        await renewal.look()
        await renewal.look()
        assert await peer_of(rig) == first.certificate
        assert [record.message for record in caplog.records if "cannot be renewed" in record.message] == [
            caplog.records[-1].message
        ]
        files.key.write_bytes(second.key_pem)
        await renewal.look()
        assert await peer_of(rig) == second.certificate


@pytest.fixture
def clients() -> Pair:
    return make_authority("clients")


async def test_a_client_certificate_of_the_clusters_authority_is_a_user(tmp_path: Path, clients: Pair) -> None:
    context = client_context(make_client(clients, "reader"), tmp_path)
    async with serving() as rig:
        assert (await ask(rig, "/metrics", context=context)).status == 401
        rig.reviews.authorities = clients.certificate_pem.decode()
        await rig.renewal().look()
        assert (await ask(rig, "/metrics", context=context)).status == 200
        stranger = client_context(make_client(clients, "somebody"), tmp_path)
        assert (await ask(rig, "/metrics", context=stranger)).status == 403
        assert (await ask(rig, "/metrics", token="good")).status == 200


async def test_a_client_certificate_of_another_authority_gets_nothing(tmp_path: Path, clients: Pair) -> None:
    context = client_context(make_client(make_authority("clients"), "reader"), tmp_path)
    async with serving() as rig:
        rig.reviews.authorities = clients.certificate_pem.decode()
        await rig.renewal().look()
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await ask(rig, "/metrics", context=context)


async def test_a_servers_certificate_is_no_clients(tmp_path: Path, clients: Pair) -> None:
    context = client_context(make_server(clients, "reader"), tmp_path)
    async with serving() as rig:
        rig.reviews.authorities = clients.certificate_pem.decode()
        await rig.renewal().look()
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await ask(rig, "/metrics", context=context)


async def test_authorities_that_were_replaced_let_their_clients_in_no_more(tmp_path: Path, clients: Pair) -> None:
    old = client_context(make_client(clients, "reader"), tmp_path / "old")
    others = make_authority("others")
    new = client_context(make_client(others, "reader"), tmp_path / "new")
    file = tmp_path / "ca.crt"
    async with serving() as rig:
        renewal = rig.renewal(file)
        file.write_bytes(clients.certificate_pem)
        await renewal.look()
        assert (await ask(rig, "/metrics", context=old)).status == 200
        file.write_bytes(others.certificate_pem)
        await renewal.look()
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await ask(rig, "/metrics", context=old)
        assert (await ask(rig, "/metrics", context=new)).status == 200
        assert rig.reviews.asked.count(("authorities",)) == 0


async def test_authorities_that_cannot_be_had_leave_those_before(tmp_path: Path, clients: Pair) -> None:
    context = client_context(make_client(clients, "reader"), tmp_path)
    async with serving() as rig:
        rig.reviews.authorities = clients.certificate_pem.decode()
        renewal = rig.renewal()
        await renewal.look()
        rig.reviews.is_away = True
        await renewal.look()
        rig.reviews.is_away, rig.reviews.authorities = False, "no certificate"
        await renewal.look()
        assert (await ask(rig, "/metrics", context=context)).status == 200


async def test_the_cluster_is_not_asked_for_authorities_when_told_so() -> None:
    async with serving() as rig:
        await rig.renewal(asks_cluster=False).look()
        assert rig.reviews.asked == []


async def test_a_port_that_is_taken_is_told_by_its_options() -> None:
    async with serving() as rig:
        second = Rig().server
        second.address = rig.server.address
        with pytest.raises(ListenError, match="--secure-port"):
            async with second:
                pass


async def is_refused(rig: Rig) -> bool:
    try:
        await ask(rig, "/healthz")
    except aiohttp.ClientError:
        return True
    return False


async def test_connections_too_many_are_closed_and_the_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    async with serving() as rig:
        host, port = rig.server.address.host, rig.server.address.port
        reader, writer = await asyncio.open_connection(host, port, ssl=client_context(None, Path()))
        async with asyncio.timeout(20):
            # The first connection counts from when the server has seen the end of its handshake.
            while not await is_refused(rig):
                pass
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_client_that_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_S", 0.05)
    async with serving() as rig:
        host, port = rig.server.address.host, rig.server.address.port
        reader, writer = await asyncio.open_connection(host, port, ssl=client_context(None, Path()))
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
