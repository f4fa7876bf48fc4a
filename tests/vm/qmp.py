"""A small asynchronous client of QEMU's machine protocol (QMP). It knows the protocol and no machine."""

import asyncio
import json
import socket
from typing import Any

_READ_LIMIT = 8 << 20


class QmpError(Exception):
    """QEMU refused a command, or went away while one was running."""


class Qmp:
    """One connection to a QEMU process; commands may be sent by several tasks at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()
        self._number = 0
        self._closed = False
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def connect(cls, end: socket.socket, *, deadline: float) -> "Qmp":
        """Take over our end of a socket pair and agree with QEMU on the protocol."""
        reader, writer = await asyncio.open_connection(sock=end, limit=_READ_LIMIT)
        client = cls(reader, writer)
        await client.execute("qmp_capabilities", deadline=deadline)
        return client

    async def execute(self, command: str, arguments: dict[str, Any] | None = None, *, deadline: float) -> Any:
        """Run one command and give what it returns. Raises QmpError with QEMU's own text."""
        self._number += 1
        number = self._number
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            raise QmpError(f"QEMU is gone; {command} was not sent")
        self._answers[number] = answer
        message = {"execute": command, "arguments": arguments or {}, "id": number}
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout_at(deadline):
                return await answer
        finally:
            self._answers.pop(number, None)

    async def event(self, name: str, *, deadline: float, **data: object) -> dict[str, Any]:
        """Wait for an event whose data hold these values; one that came earlier and was not taken counts."""

        def taken() -> dict[str, Any] | None:
            for event in self._events:
                seen = event.get("data", {})
                if event["event"] == name and all(seen.get(key) == value for key, value in data.items()):
                    self._events.remove(event)
                    return event
            return None

        async with asyncio.timeout_at(deadline), self._changed:
            while True:
                found = taken()
                if found is not None:
                    return found
                if self._closed:
                    raise QmpError(f"QEMU went away before its event {name}")
                await self._changed.wait()

    async def close(self) -> None:
        """End the connection; QEMU itself goes on."""
        self._writer.close()
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)

    async def _receive(self) -> None:
        try:
            while line := await self._reader.readline():
                await self._take(json.loads(line))
        except ConnectionError:
            pass
        finally:
            self._closed = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(QmpError("QEMU closed its control connection"))
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            async with self._changed:
                self._events.append(message)
                self._changed.notify_all()
            return
        answer = self._answers.get(message.get("id", -1))
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(QmpError(message["error"].get("desc", "no reason given")))
        else:
            answer.set_result(message.get("return"))
