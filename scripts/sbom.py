"""`make sbom`: writes what is inside an image as a CycloneDX bill of materials (JSON), one file per image.

Read from the image's own files, not from what was asked for: dpkg's database and the metadata of Python distributions.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import distributions
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

_LIMIT_S = 120


def main() -> int:
    """Write `<folder>/<name>.cdx.json` for every image named."""
    parser = argparse.ArgumentParser(prog="make sbom", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder (dist)")
    parser.add_argument("images", nargs="+", help="images that buildah knows")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for image in options.images:
        with mounted(image) as root:
            bom = bill_of(image, root)
        name = image.rpartition("/")[2].partition(":")[0]
        file = options.out / f"{name}.cdx.json"
        make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_to_file(
            str(file), allow_overwrite=True, indent=2
        )
        print(f"{file}: {len(bom.components)} components")
    return 0


def bill_of(image: str, root: Path) -> Bom:
    """List the packages and Python distributions below an image's root."""
    name, _, tag = image.rpartition("/")[2].partition(":")
    bom = Bom()
    whole = Component(type=ComponentType.CONTAINER, name=name, version=tag)
    bom.metadata.component = whole
    for purl in (*debian_packages(root), *python_distributions(root)):
        bom.components.add(
            Component(
                type=ComponentType.LIBRARY,
                bom_ref=str(purl),
                name=purl.name,
                version=purl.version or "",
                purl=purl,
            )
        )
    bom.register_dependency(whole, bom.components)
    return bom


def debian_packages(root: Path) -> Iterator[PackageURL]:
    """Give every package that dpkg has installed below `root`."""
    for paragraph in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = HeaderParser().parsestr(paragraph.strip())
        if fields.get("Status", "").endswith(" installed"):
            yield PackageURL(
                "deb", "debian", fields["Package"], fields["Version"], {"arch": fields.get("Architecture", "all")}
            )


def python_distributions(root: Path) -> Iterator[PackageURL]:
    """Give every Python distribution of the program's environment below `root`."""
    folders = [str(path) for path in (root / "opt").glob("*/lib/python3*/site-packages")]
    for found in distributions(path=folders):
        yield PackageURL("pypi", None, found.name.lower(), found.version)


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Have the image's files below a folder for a while."""
    container = _buildah("from", "--pull-never", image)
    try:
        yield Path(_buildah("mount", container))
    finally:
        _buildah("rm", container)


def _buildah(*words: str) -> str:
    done = subprocess.run(("buildah", *words), capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode != 0:
        sys.exit(f"buildah {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
