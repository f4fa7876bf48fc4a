# One file, one target per program. BASE is any Debian-like root with apt and Python 3.11 or later, so that the images
# also build offline from a base made locally.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY locks/build.txt locks/node.txt locks/
RUN python3 -m venv /opt/build && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes -r locks/build.txt \
    && python3 -m venv /opt/thecloud \
    && /opt/thecloud/bin/python -m pip install --no-cache-dir --require-hashes -r locks/node.txt
COPY . .
# The embedded platform is for development: its command would lack what it imports.
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
    && /opt/thecloud/bin/python -m pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    && rm /opt/thecloud/bin/devcloud \
    && /opt/thecloud/bin/python -m pip uninstall --yes --quiet pip

FROM ${BASE} AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 e2fsprogs xfsprogs btrfs-progs util-linux mount \
    && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man
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
