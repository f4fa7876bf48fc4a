# One file, one target per program. The bases are any Debian-like roots with Python 3.11 or later; what they lack comes from
# their package manager. With bases that lack nothing (`make image-base`) the build needs no network.
ARG BASE=docker.io/library/debian:trixie-slim
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
RUN python3 -c 'import ensurepip' 2>/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)
WORKDIR /src
COPY locks/build.txt locks/node.txt locks/
# Bytecode is made at the end, keyed by content: with times in it no two builds would be the same.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
RUN python3 -m venv /opt/build && /opt/build/bin/python -m pip install --no-compile --require-hashes -r locks/build.txt \
    && python3 -m venv /opt/thecloud && /opt/thecloud/bin/python -m pip install --no-compile --require-hashes -r locks/node.txt
COPY . .
ARG SOURCE_DATE_EPOCH=0
# What the two CSI programs do not import is not installed: the other programs' commands would not run here.
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
    && /opt/thecloud/bin/python -m pip install --no-compile --no-deps /tmp/wheel/*.whl \
    && rm /opt/thecloud/bin/devcloud /opt/thecloud/bin/tc-ccm /opt/thecloud/bin/kaas /opt/thecloud/bin/cloud \
    && /opt/thecloud/bin/python -m pip uninstall --yes --quiet pip setuptools \
    && /opt/thecloud/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/thecloud/lib

# Apart, so that the CSI programs' images hold nothing that they do not import.
FROM build AS build-ccm
RUN python3 -m venv /opt/ccm && /opt/ccm/bin/python -m pip install --no-compile --require-hashes -r locks/ccm.txt \
    && /opt/ccm/bin/python -m pip install --no-compile --no-deps /tmp/wheel/*.whl \
    && rm /opt/ccm/bin/devcloud /opt/ccm/bin/tc-csi-* /opt/ccm/bin/kaas /opt/ccm/bin/cloud \
    && /opt/ccm/bin/python -m pip uninstall --yes --quiet pip setuptools \
    # The kubernetes package's models and generated calls are never loaded, and are half of its size again as bytecode.
    && /opt/ccm/bin/python -m compileall -q --invalidation-mode unchecked-hash -x 'kubernetes/.*/(models|api)/' /opt/ccm/lib

# Apart for the same reason. The manifests that it installs in clusters are in the wheel.
FROM build AS build-kaas
RUN python3 -m venv /opt/kaas && /opt/kaas/bin/python -m pip install --no-compile --require-hashes -r locks/kaas.txt \
    && /opt/kaas/bin/python -m pip install --no-compile --no-deps /tmp/wheel/*.whl \
    && rm /opt/kaas/bin/devcloud /opt/kaas/bin/tc-* \
    && /opt/kaas/bin/python -m pip uninstall --yes --quiet pip setuptools \
    && /opt/kaas/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/kaas/lib

FROM ${BASE} AS kaas
RUN command -v python3 || (apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates \
        && rm -rf /var/lib/apt/lists/*)
COPY --from=build-kaas /opt/kaas /opt/kaas
COPY LICENSE /licenses/LICENSE
ENV PATH=/opt/kaas/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Key ring, users, certificates, and the tables where they are SQLite's: made before the volume, so that it is the user's.
RUN mkdir -m 0700 /var/lib/kaas && chown 65532:65532 /var/lib/kaas
ENV TC_STATE_DIR=/var/lib/kaas
VOLUME /var/lib/kaas
USER 65532:65532
ENTRYPOINT ["kaas"]

FROM ${BASE} AS ccm
RUN command -v python3 || (apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates \
        && rm -rf /var/lib/apt/lists/*)
COPY --from=build-ccm /opt/ccm /opt/ccm
COPY LICENSE /licenses/LICENSE
ENV PATH=/opt/ccm/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["tc-ccm"]

FROM ${BASE} AS runtime
# ICU is there for xfs_scrub alone, which is not used.
RUN for tool in python3 mkfs.ext4 mkfs.xfs mkfs.btrfs blkid mount; do command -v "$tool" >/dev/null || missing=$tool; done; \
    [ -z "$missing" ] || (apt-get update \
        && apt-get install -y --no-install-recommends python3 e2fsprogs xfsprogs btrfs-progs util-linux mount \
        && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale /usr/lib/*/libicu*)
# With the host's /sys mounted, mount(8) hands SELinux contexts on where the host has SELinux, but only if this is there.
RUN mkdir -p /etc/selinux && touch /etc/selinux/config
COPY --from=build /opt/thecloud /opt/thecloud
COPY LICENSE /licenses/LICENSE
# One arena: the threads wait for disks, and an arena each would only cost memory.
ENV MALLOC_ARENA_MAX=1
ENV PATH=/opt/thecloud/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM runtime AS csi-node
ENTRYPOINT ["tc-csi-node"]

FROM runtime AS csi-controller
USER 65532:65532
ENTRYPOINT ["tc-csi-controller"]
