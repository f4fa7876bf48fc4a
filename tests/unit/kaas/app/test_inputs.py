import pytest

from kaas.domain.catalogue import OLDEST
from kaas.domain.errors import RequestError
from kaas.domain.versions import parse_version
from kaas.domain.wanted import CreateRequest
from kaas.inputs import SIMULATED_VERSIONS, SIMULATED_VPC, read_inputs
from kaas.unfit import UnfitError
from tests.unit.kaas.app.rig import furnish, settings_of

CATALOGUE = """
versions:
  - {version: v1.36.3, image: kubernetes-v1.36.3, cnis: [flannel, calico]}
  - {version: v1.30.2, image: kubernetes-v1.30.2}
"""
CALICO = "apiVersion: v1\nkind: Namespace\nmetadata: {name: calico}\n"


@pytest.fixture
def folder(tmp_path):
    furnish(tmp_path / "state")
    return tmp_path / "state"


async def refused(folder, *flags, serves=True):
    with pytest.raises(UnfitError) as caught:
        await read_inputs(settings_of(folder, "--driver=simulator", *flags), serves=serves)
    return caught.value.problems


async def test_an_empty_folder_is_told_everything_that_it_lacks(tmp_path):
    keyring, users = await refused(tmp_path)
    assert "`kaas keyring new`" in keyring
    assert "`kaas user add`" in users


async def test_who_only_conducts_needs_no_users(tmp_path):
    assert len(await refused(tmp_path, serves=False)) == 1


async def test_the_simulator_offers_versions_and_a_network_without_being_told(folder):
    inputs = await read_inputs(settings_of(folder, "--driver=simulator"), serves=True)
    spec = inputs.rules.create(CreateRequest(name="dev")).spec
    assert (spec.version, spec.cni, spec.vpc_id) == ("v1.29.0", "bridge", SIMULATED_VPC)


def test_the_simulator_offers_nothing_that_a_catalogue_may_not():
    assert min(map(parse_version, SIMULATED_VERSIONS)) >= OLDEST


async def test_a_network_that_cannot_be_installed_is_not_offered(folder, tmp_path):
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    (tmp_path / "calico.yaml").write_text(CALICO)
    flags = (f"--catalogue-file={tmp_path}/catalogue.yaml", f"--cni-manifests=calico={tmp_path}/calico.yaml")
    settings = settings_of(folder, "--driver=simulator", "--default-cni=calico", *flags)
    rules = (await read_inputs(settings, serves=True)).rules
    # The newest one, as v1.29.0 is not in this catalogue.
    assert rules.create(CreateRequest(name="dev")).spec.version == "v1.36.3"
    with pytest.raises(RequestError, match="flannel"):
        rules.create(CreateRequest(name="dev", cni="flannel"))
    with pytest.raises(RequestError, match="cilium"):
        rules.create(CreateRequest(name="dev", version="v1.30.2", cni="cilium"))


async def test_a_default_that_is_not_offered_is_told_at_the_start(folder):
    (problem,) = await refused(folder, "--default-cni=calico")
    assert "the defaults of new clusters are not offered" in problem
    assert "calico" in problem


async def test_quirks_of_hosts(folder, tmp_path):
    path = tmp_path / "quirks.yaml"
    path.write_text("ignore_preflight_errors: [SystemVerification]\nallow_cgroup_v1: true\n")
    flag = f"--quirks-file={path}"
    quirks = (await read_inputs(settings_of(folder, "--driver=simulator", flag), serves=True)).quirks
    assert (quirks.ignore_preflight_errors, quirks.allow_cgroup_v1) == (("SystemVerification",), True)
    path.write_text("allow_cgroups: true\n")
    (problem,) = await refused(folder, flag)
    assert "allow_cgroups is none of allow_cgroup_v1" in problem
    path.write_text("allow_cgroup_v1: perhaps\n")
    (problem,) = await refused(folder, flag)
    assert "no quirks of hosts that can be read" in problem


async def test_every_file_that_is_wrong_is_named(folder, tmp_path):
    (folder / "users.yaml").chmod(0o644)
    (folder / "keyring.json").write_text("{}")
    problems = await refused(
        folder,
        f"--deploy-dir={tmp_path}/none",
        f"--quirks-file={tmp_path}/no-quirks",
        f"--catalogue-file={tmp_path}/no-catalogue",
        f"--cluster-ca-file={tmp_path}/no-ca",
    )
    for name in ("keyring.json", "users.yaml", f"{tmp_path}/none", "no-quirks", "no-catalogue", "no-ca"):
        assert any(name in problem for problem in problems), (name, problems)
