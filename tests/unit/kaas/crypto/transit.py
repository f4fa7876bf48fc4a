"""Vault's transit engine at the HTTP boundary: real keys with versions, a token that counts, and bad days."""

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class FakeTransit:
    """Answers as the transit engine does for one key; `bad_days` are statuses that it answers first."""

    def __init__(self, *, mount: str = "transit", key: str = "kaas", token: str = "s.first") -> None:
        self.key = key
        self.token = token
        self.versions = [secrets.token_bytes(32)]
        self.bad_days: list[int] = []
        self.calls: list[str] = []
        self.namespaces: list[str] = []
        verbs = {"encrypt": self._encrypt, "decrypt": self._decrypt, "rewrap": self._rewrap}
        self.app = Starlette(
            routes=[
                Route(f"/v1/{mount}/{verb}/{{key}}", self._guarded(verb, answer), methods=["POST"])
                for verb, answer in verbs.items()
            ]
        )

    def rotate(self) -> None:
        self.versions.append(secrets.token_bytes(32))

    def _guarded(self, verb, answer):
        async def handle(request: Request) -> Response:
            self.calls.append(verb)
            self.namespaces.append(request.headers.get("x-vault-namespace", ""))
            if self.bad_days:
                return JSONResponse({"errors": ["Vault is sealed"]}, status_code=self.bad_days.pop(0))
            if request.headers.get("x-vault-token") != self.token:
                return JSONResponse({"errors": ["permission denied"]}, status_code=403)
            if request.path_params["key"] != self.key:
                return JSONResponse({"errors": ["encryption key not found"]}, status_code=400)
            try:
                data = answer(await request.json())
            except (KeyError, ValueError, IndexError, InvalidTag):
                return JSONResponse({"errors": ["invalid ciphertext"]}, status_code=400)
            return JSONResponse({"request_id": "1", "data": data})

        return handle

    def _encrypt(self, body: dict[str, str]) -> dict[str, object]:
        return self._sealed(base64.b64decode(body["plaintext"], validate=True))

    def _decrypt(self, body: dict[str, str]) -> dict[str, object]:
        return {"plaintext": base64.b64encode(self._opened(body["ciphertext"])).decode()}

    def _rewrap(self, body: dict[str, str]) -> dict[str, object]:
        return self._sealed(self._opened(body["ciphertext"]))

    def _sealed(self, plaintext: bytes) -> dict[str, object]:
        nonce = secrets.token_bytes(12)
        blob = nonce + AESGCM(self.versions[-1]).encrypt(nonce, plaintext, None)
        number = len(self.versions)
        return {"ciphertext": f"vault:v{number}:{base64.b64encode(blob).decode()}", "key_version": number}

    def _opened(self, ciphertext: str) -> bytes:
        name, version, blob = ciphertext.split(":")
        if name != "vault":
            raise ValueError("not one of ours")
        data = base64.b64decode(blob, validate=True)
        return AESGCM(self.versions[int(version[1:]) - 1]).decrypt(data[:12], data[12:], None)
