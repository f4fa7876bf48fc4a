"""Node groups as they are described, and what is wrong with a description."""

from decimal import Decimal
from pathlib import Path

import pytest

from ccm.autoscaler.definitions import GroupsFile, parse_groups
from ccm.autoscaler.model import Taint
from ccm.autoscaler.ports import DefinitionsError
from ccm.autoscaler.quantity import parse_quantity
from ccm.autoscaler.reconcile import machine_name

WHOLE = """
groups:
  - name: pool-a
    minSize: 1
    maxSize: 10
    template:
      instanceType: standard-2
      image: kubernetes-1.36
      zone: zone-1
      labels: {tier: web}
      taints: [{key: dedicated, value: web, effect: NoSchedule}]
      cmdFile: /etc/thecloud/join.sh
      capacity: {cpu: 2, memory: 4Gi}
      allocatable: {cpu: 1900m}
"""


def described(change: str = "", old: str = "") -> bytes:
    assert old in WHOLE
    return (WHOLE.replace(old, change) if old else WHOLE + change).encode()


def test_a_description_is_read() -> None:
    group = parse_groups(described(), where="f")["pool-a"]
    assert (group.min_size, group.max_size, group.template.instance_type) == (1, 10, "standard-2")
    assert group.template.capacity == {"cpu": "2", "memory": "4Gi"}
    assert group.template.taints == (Taint("dedicated", "web", "NoSchedule"),)
    assert group.template.cmd_file == Path("/etc/thecloud/join.sh")


def test_json_is_yaml() -> None:
    template = '{"instanceType": "a", "image": "b", "capacity": {"cpu": "1", "memory": "1Gi"}}'
    raw = f'{{"groups": [{{"name": "p", "minSize": 0, "maxSize": 1, "template": {template}}}]}}'
    assert list(parse_groups(raw.encode(), where="f")) == ["p"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("pool-a", "Pool_A", "a name has 1 to 32"),
        ("minSize: 1", "minSize: 11", "sizes must be"),
        ("minSize: 1", "minSize: -1", "sizes must be"),
        ("maxSize: 10", "maxSize: many", "Expected `int`"),
        ("instanceType: standard-2", "instanceType: ''", "must not be empty"),
        ("image: kubernetes-1.36", "picture: x", "picture"),
        ("{cpu: 2, memory: 4Gi}", "{cpu: 2}", "template.capacity lacks memory"),
        ("1900m", "lots", "'lots' is no quantity"),
        ("NoSchedule", "Never", "Never"),
        ("zone: zone-1", "sshKeyId: k", "sshKeyId excludes"),
        ("zone: zone-1", "instanceLabels: {thecloud.io/cluster: x}", "is the bridge's own"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, fault: str) -> None:
    with pytest.raises(DefinitionsError, match=fault) as caught:
        parse_groups(described(new, old), where="groups.yaml")
    assert "groups.yaml" in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    one = described("minSize: 11", "minSize: 1").replace(b"1900m", b"lots")
    both = one + one.partition(b"groups:")[2]
    with pytest.raises(DefinitionsError, match=r"'pool-a': sizes.*'lots'.*'pool-a': sizes.*described twice"):
        parse_groups(both, where="f")


def test_a_text_that_is_no_yaml_is_not_shown() -> None:
    with pytest.raises(DefinitionsError, match="line") as caught:
        parse_groups(b"groups: [\n  {cmd: [token-abc: : }", where="f")
    assert "token-abc" not in str(caught.value)


async def test_a_file_is_read_again_when_it_is_swapped(tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_bytes(described())
    file = GroupsFile(path)
    first = await file.load()
    assert await file.load() is first
    (tmp_path / "new").write_bytes(described("maxSize: 12", "maxSize: 10"))
    (tmp_path / "new").replace(path)
    assert (await file.load())["pool-a"].max_size == 12
    path.unlink()
    with pytest.raises(DefinitionsError, match=r"groups\.yaml"):
        await file.load()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", 2),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("2Gi", 2**31),
        ("1k", 1000),
        ("1e3", 1000),
        ("100n", "1e-7"),
        (".5", "0.5"),
    ],
)
def test_quantities(text: str, amount: int | str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "0x1", "1e", "--1", "1ki"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)


def test_names_of_machines_fit_the_platform() -> None:
    assert machine_name("c.1_x", "pool-a", "7") == "c-1-x-pool-a-7"
    longest = machine_name("c" * 63, "p" * 32, "4f1c2d3e-0000-4000-8000-000000000001")
    assert len(longest) == 64
    assert machine_name("", "pool-a", "7") == "pool-a-7"
