"""Answers every HTTP request with what it saw of it, as JSON: who connected, whom a PROXY header names, what was sent.

Runs in a pod, given to its python3 as text, so nothing but the standard library is here.
"""

import json
import socket
import socketserver
import sys
from typing import Any

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""Beginning of a PROXY header, version 2."""


class Echo(socketserver.StreamRequestHandler):
    """One connection."""

    timeout = 30

    def handle(self) -> None:
        """Read one request and answer it."""
        try:
            proxied = self._proxied()
            request = self.rfile.readline().decode("latin-1").strip()
            headers = dict(iter(self._header, ("", "")))
        except (OSError, ValueError):
            return
        if not request:
            # A check that only connects.
            return
        seen: dict[str, Any] = {
            "pod": socket.gethostname(),
            "peer": self.client_address[0].removeprefix("::ffff:"),
            "proxied": proxied,
            "request": request,
            "headers": headers,
        }
        body = json.dumps(seen).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.wfile.write(head.encode() + b"Connection: close\r\n\r\n" + body)

    def _header(self) -> tuple[str, str]:
        name, _, value = self.rfile.readline().decode("latin-1").strip().partition(":")
        return name.lower(), value.strip()

    def _proxied(self) -> str:
        """Give the client that a PROXY header names, and leave what follows it; empty without one."""
        begin = self.rfile.peek(len(SIGNATURE))  # type: ignore[attr-defined]
        if begin.startswith(b"PROXY "):
            return self.rfile.readline().split()[2].decode()
        if not begin.startswith(SIGNATURE):
            return ""
        header = self.rfile.read(16)
        rest = self.rfile.read(int.from_bytes(header[14:16], "big"))
        # The low half of byte 13 is 1 for a proxied connection; 1 in the high half of byte 14 means IPv4.
        return socket.inet_ntoa(rest[:4]) if header[12] & 0xF == 1 and header[13] >> 4 == 1 else ""


class Server(socketserver.ThreadingTCPServer):
    """Takes connections."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(("", int(sys.argv[1])), Echo) as server:
        server.serve_forever()
