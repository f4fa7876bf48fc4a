"""A platform whose certificate is signed by an authority of its own."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from devcloud.nspawn.network import in_namespace
from tests.e2e.cluster import driver
from tests.e2e.cluster.credentials import NAMESPACE, SECRET
from tests.e2e.cluster.platform import NETWORK
from tests.e2e.cluster.site import Site
from tests.e2e.objects import claim, pod
from tests.e2e.world import World
from tests.support.certificates import MISSING_OPENSSL, make_certificate

pytestmark = [pytest.mark.disruptive, pytest.mark.skipif(bool(MISSING_OPENSSL), reason=MISSING_OPENSSL)]
CONTROLLER = "deployment/thecloud-csi-controller"
SYSTEM = ("-n", NAMESPACE)
GATEWAY = str(NETWORK[1])


async def test_an_untrusted_certificate_is_named_on_the_claim_and_its_authority_cures_it(
    world: World, tmp_path: Path
) -> None:
    kube = world.kube
    make_certificate(tmp_path, "/CN=platform", "-addext", f"subjectAltName=IP:{GATEWAY}")
    async with _tls_in_front(world.site, tmp_path) as url:
        try:
            # Made anew as by a first installation: a rollout would leave the former ones at work until these are ready.
            await kube.run("delete", CONTROLLER, *SYSTEM, "--timeout=60s", timeout_s=70)
            await kube.run("apply", "-k", str(driver.write_overlay(world.site, "devcloud", platform_url=url)))
            await world.apply(claim("data"), pod("user", ["data"]))
            text = await world.event("PersistentVolumeClaim", "data", "ProvisioningFailed", "is not trusted")
            assert "ca.crt" in text
            assert SECRET in text

            authority = base64.b64encode((tmp_path / "ca.crt").read_bytes()).decode()
            await _patch_secret(world, f'"{authority}"')
            components = ("snapshot-controller", "private-ca")
            folder = driver.write_overlay(world.site, "devcloud", components=components, platform_url=url)
            await kube.run("apply", "-k", str(folder))
            await driver.ready(world.site)
            await world.wait("condition=Ready", "pod/user", timeout_s=180)
            await world.remember()
        finally:
            await _patch_secret(world, "null")
            await kube.run("delete", CONTROLLER, *SYSTEM, "--ignore-not-found", "--timeout=60s", timeout_s=70)
            await kube.run("apply", "-k", str(driver.write_overlay(world.site, "devcloud")))
            await driver.ready(world.site)


async def _patch_secret(world: World, authority: str) -> None:
    await world.kube.run("patch", "secret", SECRET, *SYSTEM, "-p", f'{{"data":{{"ca.crt":{authority}}}}}')


@contextlib.asynccontextmanager
async def _tls_in_front(site: Site, certificate: Path) -> AsyncIterator[str]:
    """Serve the platform once more over TLS, at its address in the machines' network; gives the URL."""
    platform = httpx.URL(site.devcloud_url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(platform.host, platform.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca.crt", certificate / "key")
    listening = in_namespace(site.namespace, lambda: socket.create_server((GATEWAY, 0)))
    server = await asyncio.start_server(serve, sock=listening, ssl=context)
    try:
        yield f"https://{GATEWAY}:{listening.getsockname()[1]}"
    finally:
        server.close()
