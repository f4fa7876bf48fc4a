"""The service on a platform (devcloud, whose machines are rows), with the platform's own API keys."""

import pytest

from devcloud.rows import INSTANCES
from tests.support.devcloud import devcloud_server
from tests.unit.kaas.app.rig import running, until

CATALOGUE = "versions: [{version: v1.36.3, image: kubernetes-v1.36.3}]\n"


@pytest.mark.parametrize("tier", ["strict", "extended"])
async def test_a_cluster_gets_its_machines_there_and_leaves_nothing(tmp_path, tier):
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    async with devcloud_server(tmp_path / "cloud", tier=tier, nodes=("other",), lb_tick_s=0.1) as cloud:
        flags = (
            "--driver=thecloud",
            f"--platform-url={cloud.base_url}",
            "--requests-per-s=1000",
            "--authentication=platform",
            f"--catalogue-file={tmp_path}/catalogue.yaml",
            "--default-cni=bridge",
            "--default-worker-type=basic-1",
            "--phone-home-url=https://127.0.0.1:8087",
        )
        secrets = {"TC_API_KEY": cloud.api_key}
        async with running(tmp_path / "state", *flags, secrets=secrets) as service, cloud.client() as platform:
            service.key = cloud.api_key
            vpc_id = (await platform.get("/vpcs")).json()["data"][-1]["id"]
            elsewhere = await service.ask("POST", "/clusters", {"name": "dev", "vpc_id": cloud.instances["other"]})
            assert elsewhere.status_code == 404, elsewhere.text
            body = {"name": "dev", "vpc_id": vpc_id, "workers": 1}
            body |= {"pod_cidr": "192.168.0.0/16", "service_cidr": "172.20.0.0/16"}
            made = await service.ask("POST", "/clusters", body)
            assert made.status_code == 202, made.text
            operation = made.headers["X-Operation-ID"]

            async def has_machines() -> bool:
                seen = await service.get(f"/operations/{operation}")
                assert seen["state"] in {"pending", "running"}, seen
                steps = {step["key"]: step["state"] for step in seen["steps"]}
                keys = ("machine/dev-control-plane-0", "machine/dev-default-pool-0")
                return all(steps.get(key) == "done" for key in keys)

            await until(has_machines)
            assert cloud.cloud is not None
            names = {row.name for row in await cloud.cloud.store.read(INSTANCES.all)}
            assert {"dev-control-plane-0", "dev-default-pool-0"} <= names
            assert (await service.ask("DELETE", "/clusters/dev")).status_code in {200, 202, 204}

            async def is_gone() -> bool:
                return (await service.ask("GET", "/clusters/dev")).status_code == 404

            await until(is_gone)
            assert [row.name for row in await cloud.cloud.store.read(INSTANCES.all)] == ["other"]
