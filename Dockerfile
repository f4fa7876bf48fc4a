# One image, one target per program. BASE is any Debian-like root with apt and Python 3.11 or later, so that the image
# also builds offline from a base made locally.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY locks/node.txt locks/
RUN python3 -m venv /opt/thecloud \
    && /opt/thecloud/bin/python -m pip install --no-cache-dir --no-compile --require-hashes -r locks/node.txt
COPY thecloud thecloud
COPY csi csi
COPY controller controller
COPY node node
RUN site=$(/opt/thecloud/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && cp -r thecloud csi controller node "$site/" \
    && for program in controller node; do \
        printf '#!/opt/thecloud/bin/python\nimport sys\nfrom %s.app import main\nsys.exit(main())\n' "$program" \
            > "/opt/thecloud/bin/tc-csi-$program" && chmod 0755 "/opt/thecloud/bin/tc-csi-$program"; done \
    && /opt/thecloud/bin/python -m pip uninstall --yes --quiet pip \
    && /opt/thecloud/bin/python -m compileall -q "$site"

FROM ${BASE} AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 e2fsprogs xfsprogs btrfs-progs util-linux mount \
    && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man
COPY --from=build /opt/thecloud /opt/thecloud
COPY LICENSE /licenses/LICENSE
ENV PATH=/opt/thecloud/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM runtime AS csi-node
ENTRYPOINT ["tc-csi-node"]

FROM runtime AS csi-controller
USER 65532:65532
ENTRYPOINT ["tc-csi-controller"]
