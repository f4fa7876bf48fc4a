"""The published programs of a cluster: which module and version each comes from, and how it is built.

Everything is fetched and built by the go command, without cgo, so that a program needs no library in its image.

To take another version: change it here; where the tool has a folder in `gomod`, change it in that go.mod too, take over
the replacements of versions in the module's own go.mod (for Kubernetes: each of its staging modules in
STAGING_VERSION), and run `go mod tidy` there.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.e2e.cluster.cache import Artefact, Cache, digest
from tests.e2e.cluster.commands import run
from tests.e2e.cluster.errors import AssetError

KUBERNETES_VERSION = "v1.36.3"
STAGING_VERSION = "v0.36.3"
"""The version of the modules that Kubernetes publishes out of its own tree."""
GINKGO_VERSION = "v2.28.1"
"""The one in Kubernetes' go.mod; the command and the library in e2e.test must not differ."""
ETCD_VERSION = "v3.6.16"
CONTAINERD_VERSION = "v2.4.2"
CNI_VERSION = "v1.9.1"
SNAPSHOT_CLIENT = "github.com/kubernetes-csi/external-snapshotter/client/v8"
SNAPSHOT_CLIENT_VERSION = "v8.7.0"

MODULES = Path(__file__).parent / "gomod"
_GO = Path(__file__).parents[3] / "scripts" / "go"
_RECIPE = 1
_BUILD_S = 5400.0
_PARALLEL = ("-p", "2")
_STAMP = "k8s.io/component-base/version"
_STAMPS = {"gitVersion": KUBERNETES_VERSION, "gitMajor": "1", "gitMinor": "36", "gitTreeState": "clean"}
_MAJOR = re.compile(r"v\d+")
_CSI = "github.com/kubernetes-csi"
_ETCD = "go.etcd.io/etcd"
_CNI = "github.com/containernetworking/plugins"
_CONTAINERD = "github.com/containerd/containerd/v2"
_Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tool:
    """Programs of one Go module, built together.

    `packages` gives the package of each program; `tests` those that are a package's compiled tests. With `own_module`
    the build follows `gomod/<name>/go.mod` (for modules that replace others, which the go command does not install by
    version); else the module's own. `also` are further modules that the own go.mod has to name in this version.
    `variables` are set by the linker, such as the version that a program says it has.
    """

    name: str
    module: str
    version: str
    packages: _Texts
    tests: _Texts = field(default_factory=dict)
    own_module: bool = False
    also: _Texts = field(default_factory=dict)
    variables: _Texts = field(default_factory=dict)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of all programs."""
        return (*self.packages, *self.tests)

    @property
    def artefact(self) -> Artefact:
        """The folder in the cache that holds the programs."""
        packages = (f"{name}={package}" for name, package in sorted({**self.packages, **self.tests}.items()))
        variables = (f"{name}={value}" for name, value in sorted(self.variables.items()))
        sources = (path.read_bytes() for path in sorted((MODULES / self.name).glob("*"))) if self.own_module else ()
        key = digest(str(_RECIPE), self.module, self.version, *packages, "", *variables, "", *sources)
        return Artefact("cluster/binaries", self.name, key)


def _kubernetes(*commands: str) -> dict[str, str]:
    return {name: f"k8s.io/kubernetes/cmd/{name}" for name in commands}


def _sidecar(path: str, version: str, *programs: str, own_module: bool = False, also: _Texts | None = None) -> Tool:
    module = f"{_CSI}/{path}"
    return Tool(
        name=programs[0],
        module=module,
        version=version,
        packages={name: f"{module}/cmd/{name}" for name in programs},
        own_module=own_module,
        also=also or {},
        variables={"main.version": version},
    )


TOOLS = (
    Tool(
        name="kubernetes",
        module="k8s.io/kubernetes",
        version=KUBERNETES_VERSION,
        packages={
            **_kubernetes("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
            **_kubernetes("kubelet", "kubeadm", "kubectl"),
            "agnhost": "k8s.io/kubernetes/test/images/agnhost",
            "ginkgo": "github.com/onsi/ginkgo/v2/ginkgo",
        },
        tests={"e2e.test": "k8s.io/kubernetes/test/e2e"},
        own_module=True,
        also={"github.com/onsi/ginkgo/v2": GINKGO_VERSION},
        variables={f"{_STAMP}.{name}": value for name, value in _STAMPS.items()},
    ),
    Tool(
        name="etcd",
        module=f"{_ETCD}/server/v3",
        version=ETCD_VERSION,
        packages={
            "etcd": f"{_ETCD}/server/v3",
            "etcdctl": f"{_ETCD}/etcdctl/v3",
            "etcdutl": f"{_ETCD}/etcdutl/v3",
        },
        own_module=True,
        also={f"{_ETCD}/etcdctl/v3": ETCD_VERSION, f"{_ETCD}/etcdutl/v3": ETCD_VERSION},
    ),
    Tool(
        name="cni-plugins",
        module=_CNI,
        version=CNI_VERSION,
        packages={
            "bridge": f"{_CNI}/plugins/main/bridge",
            "host-local": f"{_CNI}/plugins/ipam/host-local",
            "loopback": f"{_CNI}/plugins/main/loopback",
            "portmap": f"{_CNI}/plugins/meta/portmap",
        },
        variables={f"{_CNI}/pkg/utils/buildversion.BuildVersion": CNI_VERSION},
    ),
    Tool(
        name="coredns",
        module="github.com/coredns/coredns",
        version="v1.15.0",
        packages={"coredns": "github.com/coredns/coredns"},
    ),
    Tool(
        name="containerd",
        module=_CONTAINERD,
        version=CONTAINERD_VERSION,
        packages={name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        variables={f"{_CONTAINERD}/version.Version": CONTAINERD_VERSION},
    ),
    _sidecar("external-provisioner/v6", "v6.3.0", "csi-provisioner", own_module=True),
    _sidecar("external-attacher/v4", "v4.13.0", "csi-attacher", own_module=True),
    _sidecar("external-resizer/v2", "v2.3.0", "csi-resizer"),
    _sidecar(
        "external-snapshotter/v8",
        "v8.7.0",
        "csi-snapshotter",
        "snapshot-controller",
        own_module=True,
        also={SNAPSHOT_CLIENT: SNAPSHOT_CLIENT_VERSION},
    ),
    Tool(
        name="pause",
        module="thecloud.example/pause",
        version="v0.0.0",
        packages={"pause": "thecloud.example/pause"},
        own_module=True,
    ),
)


def tool_of(program: str) -> Tool:
    """Give the tool that a program belongs to. Raises KeyError."""
    for tool in TOOLS:
        if program in tool.programs:
            return tool
    raise KeyError(program)


async def obtain_binaries(cache: Cache) -> dict[str, Path]:
    """Give the path of every program of the table, building what the cache does not have. Raises AssetError."""
    found: dict[str, Path] = {}
    # One after the other: each build uses both processors by itself.
    for tool in TOOLS:
        folder = await cache.obtain(tool.artefact, partial(build, tool))
        found |= {program: folder / program for program in tool.programs}
    return found


async def obtain_snapshot_crds(cache: Cache) -> Path:
    """Give a folder with the published definitions of the snapshot and group snapshot objects. Raises AssetError."""
    key = digest(str(_RECIPE), SNAPSHOT_CLIENT, SNAPSHOT_CLIENT_VERSION)
    return await cache.obtain(Artefact("cluster/manifests", "snapshot-crds", key), _copy_snapshot_crds)


async def build(tool: Tool, folder: Path) -> None:
    """Build the programs of a tool into a folder. Raises AssetError with what the compiler said."""
    variables = "".join(f" -X {name}={value}" for name, value in tool.variables.items())
    flags = (*_PARALLEL, "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w{variables}")
    if tool.own_module:
        await _go("build", *flags, "-o", f"{folder}/", *tool.packages.values(), cwd=MODULES / tool.name)
        for name, package in tool.tests.items():
            await _go("test", "-c", *flags, "-o", folder / name, package, cwd=MODULES / tool.name)
    else:
        wanted = (f"{package}@{tool.version}" for package in tool.packages.values())
        await _go("install", *flags, *wanted, cwd=folder, environment={"GOBIN": str(folder)})
    for name, package in tool.packages.items():
        (folder / default_name(package)).rename(folder / name)
    _require_exactly(folder, tool.programs, tool)


def default_name(package: str) -> str:
    """Give the file name that the go command chooses for a main package: its last part that is not a major version."""
    *_, before, last = ("", *package.split("/"))
    return before if _MAJOR.fullmatch(last) else last


def _require_exactly(folder: Path, programs: Iterable[str], tool: Tool) -> None:
    seen = sorted(path.name for path in folder.iterdir())
    if seen != sorted(programs):
        raise AssetError(f"building {tool.name} {tool.version} gave {seen} instead of {sorted(programs)}")


async def _copy_snapshot_crds(folder: Path) -> None:
    wanted = f"{SNAPSHOT_CLIENT}@{SNAPSHOT_CLIENT_VERSION}"
    answer = json.loads(await _go("mod", "download", "-json", wanted, cwd=folder))
    crds = sorted((Path(answer["Dir"]) / "config" / "crd").glob("*snapshot.storage.k8s.io_volume*.yaml"))
    if not crds:
        raise AssetError(f"{wanted} has no definitions in config/crd")
    for source in crds:
        (folder / source.name).write_bytes(source.read_bytes())


async def _go(*words: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    fixed = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    return await run((_GO, *words), timeout_s=_BUILD_S, cwd=cwd, environment={**fixed, **(environment or {})})
