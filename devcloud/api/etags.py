"""Lists that a caller need not read again when nothing in them has changed."""

import hashlib

import msgspec
from starlette.responses import Response

from devcloud.api.call import Call, Reply

_NOT_MODIFIED = 304


def with_etag(call: Call, data: object) -> Reply | Response:
    """Give a payload with an ETag, or 304 when the caller names it in `If-None-Match`."""
    etag = f'"{hashlib.sha256(msgspec.json.encode(data)).hexdigest()[:32]}"'
    known = call.headers.get("if-none-match", "")
    if etag in {word.strip().removeprefix("W/") for word in known.split(",")}:
        return Response(status_code=_NOT_MODIFIED, headers={"ETag": etag})
    return Reply(data, headers={"ETag": etag})
