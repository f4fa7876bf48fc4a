"""The pods' network of a node: a bridge of its own, addresses of the range that the platform routes to the machine."""

import json

CONFLIST = "/etc/cni/net.d/10-pods.conflist"


def conflist(pod_range: str) -> str:
    """Give the CNI configuration of a node; nothing is hidden behind addresses, because nothing leaves the network."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "ipMasq": False,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": pod_range}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=2,
    )
