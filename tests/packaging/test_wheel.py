"""The wheel holds exactly our packages, every module of it imports elsewhere, and its commands work there."""

import json
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"process", "thecloud", "csi", "controller", "node", "ccm", "devcloud", "kaas"}
_MOVED = {"kaas-core/kaas": "kaas", "deploy": "kaas/deploy"}
"""What lies elsewhere in the wheel than in the tree."""
_IMPORT_ALL = """
import importlib, json, pkgutil, sys
sys.path[:0] = [sys.argv[1]]
sys.path.append(sys.argv[2])
names = []
for top in json.loads(sys.argv[3]):
    package = importlib.import_module(top)
    assert package.__file__.startswith(sys.argv[1]), package.__file__
    names += [m.name for m in pkgutil.walk_packages(package.__path__, top + ".") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
_COMMAND = """
import sys
from importlib.metadata import distribution
sys.path[:0] = [sys.argv[1]]
sys.path.append(sys.argv[2])
(command,) = (one for one in distribution("thecloud-kubernetes").entry_points if one.name == sys.argv[3])
sys.argv = sys.argv[3:]
sys.exit(command.load()())
"""
_RENDER = """
import sys
sys.path[:0] = [sys.argv[1]]
sys.path.append(sys.argv[2])
from kaas.inputs import read_addons
from kaas.kube.addons.ccm import ccm_objects
from kaas.kube.addons.csi import csi_objects
from kaas.kube.addons.platform import PlatformAccess
from kaas.settings import ServiceSettings
from process.settings import read_settings
settings = read_settings(ServiceSettings, ["--driver=simulator"], {})
assert str(settings.deploy).startswith(sys.argv[1]), settings.deploy
addons, platform = read_addons(settings), PlatformAccess("https://platform.test", "cluster-1", "key")
for one in (*csi_objects(addons, platform), *ccm_objects(addons, platform, nodes=1)):
    print(one["kind"], one["metadata"]["name"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a folder of its own."""
    target = tmp_path_factory.mktemp("elsewhere") / "site"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def run(code: str, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program on what is installed there; of the tree and the environment's settings it sees nothing."""
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(site), dependencies, *words],
        cwd=site.parent,
        env={"PATH": "/usr/bin:/bin", "HOME": str(site.parent), "COLUMNS": "120"},
        check=False,
        capture_output=True,
        text=True,
    )


def in_wheel(name: str) -> str:
    """Give the place in the wheel of a file of the tree."""
    moved = next((folder for folder in _MOVED if name.startswith(f"{folder}/")), "")
    return _MOVED[moved] + name.removeprefix(moved) if moved else name


def test_wheel_holds_the_tracked_files_of_our_packages_and_nothing_else(wheel: Path) -> None:
    folders = sorted((PACKAGES - set(_MOVED.values())) | set(_MOVED))
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {in_wheel(name) for name in tracked.stdout.split()}


def test_every_module_imports_from_the_installed_wheel(site: Path) -> None:
    done = run(_IMPORT_ALL, site, json.dumps(sorted(PACKAGES)))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_commands_are_named_in_the_wheel(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(name).decode()
    commands = ("tc-csi-controller", "tc-csi-node", "tc-ccm", "devcloud", "kaas", "cloud")
    assert all(f"\n{command} = " in text for command in commands)


def test_installed_commands_of_the_cluster_service_explain_themselves(site: Path) -> None:
    service = run(_COMMAND, site, "kaas", "--help")
    assert service.returncode == 0, service.stderr
    assert "migrate" in service.stdout
    line = run(_COMMAND, site, "cloud", "k8s", "--help")
    assert line.returncode == 0, line.stderr
    assert "kubeconfig" in line.stdout


def test_installed_service_renders_the_manifests_that_came_with_it(site: Path) -> None:
    done = run(_RENDER, site)
    assert done.returncode == 0, done.stderr
    rendered = set(done.stdout.splitlines())
    assert {"DaemonSet thecloud-csi-node", "StorageClass thecloud-block", "Deployment thecloud-ccm"} <= rendered


def test_installed_service_makes_its_tables(site: Path, tmp_path: Path) -> None:
    done = run(_COMMAND, site, "kaas", "migrate", "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "state" / "kaas.db")) as tables:
        names = {name for (name,) in tables.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"alembic_version", "cluster", "nodegroup", "operation"} <= names
