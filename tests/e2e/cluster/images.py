"""The container images of a cluster, assembled from our builds and from the Debian system; none is pulled.

Each has the name that Kubernetes, the manifests or the upstream suite ask for, and the content that they use of it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.e2e.cluster import archive
from tests.e2e.cluster.archive import Entry, host_architecture, write_image
from tests.e2e.cluster.binaries import ETCD_VERSION, KUBERNETES_VERSION, tool_of
from tests.e2e.cluster.cache import Artefact, Cache, digest
from tests.e2e.cluster.commands import run
from tests.e2e.cluster.debian import System, inside, libraries
from tests.e2e.cluster.errors import AssetError

REGISTRY = "registry.k8s.io"
SIDECARS = f"{REGISTRY}/sig-storage"
E2E = f"{REGISTRY}/e2e-test-images"
PAUSE = f"{REGISTRY}/pause:3.10.2"
TOOLS_IMAGE = f"{E2E}/busybox:1.37.0-1"
"""For pods of our own tests too: sh, dd, sha256sum, cat, mount, blockdev, stat, sync and more."""
ETCD_TAG = f"{ETCD_VERSION.removeprefix('v')}-0"
COREDNS_TAG = tool_of("coredns").version

_KUBEADM_COREDNS_TAG = "v1.14.2"
_KUBEADM_ETCD_TAG = "3.6.8-0"
_COMMAND_S = 60.0
_SOURCE = Path(__file__).read_bytes()
"""Part of the key. Read with the module, so that it is what runs, also when the file changes meanwhile."""
_USERS = {"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"}
_GROUPS = {"/etc/group": "root:x:0:\nnogroup:x:65534:\n"}


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is made of.

    `programs`: path in the image → program of the table of binaries. `debian`: programs of the Debian system, put at
    their own paths with the libraries that they need. `debian_folders`: all libraries of a folder of it ("*" stands for
    the name of the architecture). `debian_data`: files of it that are no programs. `texts`: files with what is in them.
    `busybox`: with a link in /bin for each of its commands that nothing else provides.
    """

    names: tuple[str, ...]
    programs: Mapping[str, str] = field(default_factory=dict)
    debian: tuple[str, ...] = ()
    debian_folders: tuple[str, ...] = ()
    debian_data: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    busybox: bool = False
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The name of its archive."""
        return self.names[0].rpartition("/")[2].replace(":", "-") + ".tar"


def _component(name: str) -> Image:
    """Give an image of Kubernetes itself; kubeadm's manifests say the command."""
    return Image((f"{REGISTRY}/{name}:{KUBERNETES_VERSION}",), {f"/usr/local/bin/{name}": name}, command=(name,))


def _sidecar(name: str) -> Image:
    return Image((f"{SIDECARS}/{name}:{tool_of(name).version}",), {f"/{name}": name}, entrypoint=(f"/{name}",))


_IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_GNU_TOOLS = ("/usr/bin/dd", "/usr/bin/base64", "/usr/bin/sha256sum", "/usr/bin/stat", "/usr/bin/sync")
_BLOCKDEV = "/usr/sbin/blockdev"
_BUSYBOX = "/bin/busybox"

IMAGES = (
    _component("kube-apiserver"),
    _component("kube-controller-manager"),
    _component("kube-scheduler"),
    Image(
        names=(f"{REGISTRY}/kube-proxy:{KUBERNETES_VERSION}",),
        programs={"/usr/local/bin/kube-proxy": "kube-proxy"},
        debian=("/usr/sbin/nft", "/usr/sbin/xtables-nft-multi", "/usr/sbin/conntrack"),
        debian_folders=("/usr/lib/*/xtables",),
        # Without the names, nft lists "6" where kube-proxy wrote "tcp", and kube-proxy takes its own elements for old
        # ones: the next full sync, such as after a change of the node's zone, deletes them all.
        debian_data=("/etc/protocols",),
        links={f"/usr/sbin/{name}": "xtables-nft-multi" for name in _IPTABLES},
        command=("kube-proxy",),
    ),
    # Under the tag that it has, and under the one that kubeadm asks for unless it is told otherwise.
    Image(
        names=(f"{REGISTRY}/etcd:{ETCD_TAG}", f"{REGISTRY}/etcd:{_KUBEADM_ETCD_TAG}"),
        programs={f"/usr/local/bin/{name}": name for name in ("etcd", "etcdctl", "etcdutl")},
        command=("etcd",),
    ),
    Image(
        names=(f"{REGISTRY}/coredns/coredns:{COREDNS_TAG}", f"{REGISTRY}/coredns/coredns:{_KUBEADM_COREDNS_TAG}"),
        programs={"/coredns": "coredns"},
        entrypoint=("/coredns",),
    ),
    Image(names=(PAUSE,), programs={"/pause": "pause"}, entrypoint=("/pause",)),
    *(_sidecar(name) for name in ("csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter")),
    _sidecar("snapshot-controller"),
    Image(names=(TOOLS_IMAGE,), busybox=True, command=("sh",)),
    # The suite enters a node's namespaces with the nsenter of util-linux and asks with the nc of OpenBSD and GNU wget;
    # those of busybox know too few options, and its wget dies of -T.
    Image(
        names=(f"{E2E}/agnhost:2.63.0",),
        programs={"/agnhost": "agnhost"},
        debian=("/usr/bin/nsenter", "/usr/bin/curl", "/usr/bin/wget", "/usr/bin/nc.openbsd"),
        links={"/usr/bin/nc": "nc.openbsd"},
        # Who is refused is to know it at once, as with the wget of the published image.
        texts={"/etc/wgetrc": "tries = 1\n"},
        busybox=True,
        entrypoint=("/agnhost",),
        command=("pause",),
    ),
    # Of nginx the suite's storage specs use only a shell.
    Image(names=(f"{E2E}/nginx:1.15-4",), busybox=True, command=("sh",)),
    # Asked for because of GNU dd, which knows oflag=nocache.
    Image(names=(f"{E2E}/glibc-dns-testing:2.0.0",), debian=(*_GNU_TOOLS, _BLOCKDEV), busybox=True, command=("sh",)),
)

KUBEADM_IMAGES = frozenset(
    {
        *(f"{REGISTRY}/{name}:{KUBERNETES_VERSION}" for name in ("kube-apiserver", "kube-controller-manager")),
        *(f"{REGISTRY}/{name}:{KUBERNETES_VERSION}" for name in ("kube-scheduler", "kube-proxy")),
        f"{REGISTRY}/coredns/coredns:{_KUBEADM_COREDNS_TAG}",
        PAUSE,
        f"{REGISTRY}/etcd:{_KUBEADM_ETCD_TAG}",
    }
)
"""What `kubeadm config images list` prints; compared with the real list whenever images are made."""


def images_artefact(system: Artefact) -> Artefact:
    """Give the folder in the cache that holds the archives made from that Debian system."""
    programs = sorted({program for image in IMAGES for program in image.programs.values()})
    builds = (f"{name} {tool_of(name).artefact.label}" for name in programs)
    key = digest(system.label, *builds, _SOURCE, archive.SOURCE)
    return Artefact("cluster/images", KUBERNETES_VERSION, key)


async def obtain_images(cache: Cache, *, system: System, binaries: Mapping[str, Path]) -> dict[str, Path]:
    """Give the archive of every image by each of its names, making them where the cache has none. Raises AssetError."""
    make = partial(_make_all, debian=system.root, binaries=binaries)
    folder = await cache.obtain(images_artefact(system.artefact), make)
    return {name: folder / image.file_name for image in IMAGES for name in image.names}


async def _make_all(folder: Path, *, debian: Path, binaries: Mapping[str, Path]) -> None:
    await _compare_with_kubeadm(binaries["kubeadm"])
    applets = await _busybox_commands(debian)
    for image in IMAGES:
        entries = await _entries(image, debian=debian, binaries=binaries, applets=applets)
        writing = partial(
            write_image,
            folder / image.file_name,
            entries,
            names=image.names,
            entrypoint=image.entrypoint,
            command=image.command,
            architecture=host_architecture(),
        )
        await asyncio.to_thread(writing)


async def _compare_with_kubeadm(kubeadm: Path) -> None:
    argv = (kubeadm, "config", "images", "list", "--kubernetes-version", KUBERNETES_VERSION)
    wanted = set((await run(argv, timeout_s=_COMMAND_S)).split())
    if wanted != KUBEADM_IMAGES:
        raise AssetError(
            f"kubeadm {KUBERNETES_VERSION} wants other images than the table has; only in one of them: "
            f"{', '.join(sorted(wanted ^ KUBEADM_IMAGES))}"
        )


async def _busybox_commands(debian: Path) -> list[str]:
    listed = await run(("chroot", debian, "busybox", "--list"), timeout_s=_COMMAND_S)
    return [name for name in listed.split() if name != "busybox"]


async def _entries(image: Image, *, debian: Path, binaries: Mapping[str, Path], applets: list[str]) -> dict[str, Entry]:
    entries = {path: Entry(source=binaries[program]) for path, program in image.programs.items()}
    entries |= {path: Entry(link=target) for path, target in image.links.items()}
    entries |= {path: Entry(text=text, mode=0o644) for path, text in {**_USERS, **_GROUPS, **image.texts}.items()}
    folders = (path for pattern in image.debian_folders for path in _files_of(debian, pattern))
    files = [*image.debian, *folders, *([_BUSYBOX] if image.busybox else [])]
    entries |= {path: _copied(debian, path) for path in (*files, *image.debian_data)}
    if files:
        needed = await libraries(debian, (path for path in files if entries[path].link is None))
        entries |= {path: Entry(source=inside(debian, path)) for path in needed}
    if image.busybox:
        # A command that comes from elsewhere has its link in /bin too, where scripts may look for it.
        own = {Path(path).name: path for path in image.debian}
        entries |= {f"/bin/{name}": Entry(link=own.get(name, "busybox")) for name in {*applets, *own}}
    return entries


def _files_of(debian: Path, pattern: str) -> list[str]:
    found = sorted(path for folder in debian.glob(pattern.lstrip("/")) for path in folder.iterdir())
    if not found:
        raise AssetError(f"the Debian system in {debian} has no files in {pattern}")
    return [f"/{path.relative_to(debian)}" for path in found]


def _copied(debian: Path, path: str) -> Entry:
    """Give the entry for a file of the system; a link to a file beside it stays a link."""
    here = debian / path.lstrip("/")
    target = str(here.readlink()) if here.is_symlink() else "/"
    return Entry(source=inside(debian, path)) if "/" in target else Entry(link=target)
