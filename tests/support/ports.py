"""Ports for programs that have to be told theirs before they start."""

import random
import socket

_BELOW_THE_KERNELS_OWN = range(20_000, 32_000)
"""From 32768 on the kernel gives ports to outgoing connections, so one that is free now may be taken a moment later."""


def free_port() -> int:
    """Give a port of loopback that nobody listens on."""
    while True:
        port = random.choice(_BELOW_THE_KERNELS_OWN)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
