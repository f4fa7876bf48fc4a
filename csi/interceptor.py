"""What surrounds every RPC: its id, its deadline, one log line, metrics, and the way from an exception to a status.

Servicers and the domain below them only raise; nothing else in the project calls `context.abort`. What a single method
does does not belong here.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message

from csi.codes import STATUS_OF_KIND
from csi.deadline import cutoff_of
from csi.errors import CsiError, ErrorKind
from csi.metrics import Metrics
from csi.redaction import Redactor
from process.request import request_id

LOG = logging.getLogger("csi.rpc")

MAX_HEADER_TEXT_BYTES = 4096
"""Status texts travel in a header; peers refuse headers of more than 8 KiB in all, and the answer with them."""
QUIET_METHODS = frozenset({"Probe", "GetPluginInfo", "GetPluginCapabilities", "NodeGetCapabilities", "GetInfo"})
"""Asked every few seconds by health checks; logged at debug level as long as they succeed."""

Behavior = Callable[[Any, Any], Any]
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call that raised is answered and logged."""

    code: grpc.StatusCode
    details: str
    unexpected: BaseException | None = None
    """An error that the code did not foresee; its traceback is logged, its text stays in the log."""


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps all unary calls of a server.

    `default_limit_s` is the time limit of callers that set none.
    """

    def __init__(self, *, metrics: Metrics, default_limit_s: float) -> None:
        self._metrics = metrics
        self._default_limit_s = default_limit_s
        self._redactor = Redactor()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give gRPC the wrapped handler; streaming handlers and unknown methods pass through untouched."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method.rsplit("/", 1)[-1]
        behavior = handler.unary_unary

        async def serve(request: Any, context: Context) -> Any:
            return await self._serve(method, behavior, request, context)

        return grpc.unary_unary_rpc_method_handler(
            serve, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    async def wait_idle(self, *, deadline: float) -> list[str]:
        """Wait until no handler runs any more, cancelled ones included; give the names of those that still do."""
        while self._tasks:
            remaining_s = deadline - asyncio.get_running_loop().time()
            if remaining_s <= 0:
                break
            await asyncio.wait(self._tasks, timeout=remaining_s)
        return sorted(task.get_name() for task in self._tasks)

    async def _serve(self, method: str, behavior: Behavior, request: Message, context: Context) -> Any:
        token = request_id.set(os.urandom(8).hex())
        task = asyncio.current_task()
        if task is not None:
            task.set_name(f"{method} {request_id.get()}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._metrics.rpc_started(method)
        begin = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        failure: Failure | None = None
        try:
            response = await self._call(behavior, request, context)
            code = grpc.StatusCode.OK
        except asyncio.CancelledError:
            raise
        except grpc.aio.AbortError:
            code = _code_of(context)
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of the process: everything becomes a status
            failure = failure_of(error)
            code = failure.code
        finally:
            duration_s = time.perf_counter() - begin
            self._metrics.rpc_ended(method, code.name, duration_s)
            self._log(method, code, duration_s, request, failure)
            request_id.reset(token)
        if failure is not None:
            await _abort(context, failure)
        return response

    async def _call(self, behavior: Behavior, request: Message, context: Context) -> Any:
        async with asyncio.timeout_at(cutoff_of(context, default_s=self._default_limit_s)):
            response = behavior(request, context)
            # The generated base classes answer methods that a servicer leaves out, and are not coroutines.
            return await response if isinstance(response, Awaitable) else response

    def _log(
        self, method: str, code: grpc.StatusCode, duration_s: float, request: Message, failure: Failure | None
    ) -> None:
        level = _level(method, code, failure)
        if not LOG.isEnabledFor(level):
            return
        fields: dict[str, object] = {"method": method, "code": code.name, "duration_s": round(duration_s, 6)}
        fields["request"] = self._redactor.redact(request)
        if failure is not None:
            fields["error"] = failure.details
        LOG.log(
            level,
            "rpc",
            extra={"fields": fields},
            exc_info=None if failure is None else failure.unexpected,
        )


def failure_of(error: BaseException) -> Failure:
    """Give the answer to an exception. The id in the text is that of the current RPC.

    A group of errors is answered as the first CsiError in it, if it holds nothing unforeseen.
    """
    if isinstance(error, CsiError):
        return Failure(STATUS_OF_KIND[error.kind], error.message)
    if isinstance(error, NotImplementedError):
        return Failure(STATUS_OF_KIND[ErrorKind.UNSUPPORTED], "this driver does not implement the call")
    if isinstance(error, TimeoutError):
        text = "the caller's deadline passed; the work may have had an effect, ask again"
        return Failure(STATUS_OF_KIND[ErrorKind.TIMEOUT], text)
    if isinstance(error, BaseExceptionGroup):
        answers = [failure_of(member) for member in error.exceptions]
        if all(answer.unexpected is None for answer in answers):
            return answers[0]
    text = f"unexpected error; the log of this plugin has it under request_id {request_id.get()}"
    return Failure(grpc.StatusCode.INTERNAL, text, error)


def _level(method: str, code: grpc.StatusCode, failure: Failure | None) -> int:
    if failure is not None and failure.unexpected is not None:
        return logging.ERROR
    if code is not grpc.StatusCode.OK:
        return logging.WARNING
    return logging.DEBUG if method in QUIET_METHODS else logging.INFO


def _code_of(context: Context) -> grpc.StatusCode:
    code: object = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((known for known in grpc.StatusCode if known.value[0] == code), grpc.StatusCode.UNKNOWN)


async def _abort(context: Context, failure: Failure) -> NoReturn:
    await context.abort(failure.code, header_text(failure.details))


def header_text(text: str) -> str:
    """Cut a text so that it fits into a header, where each byte that is not printable ASCII takes three."""
    left = MAX_HEADER_TEXT_BYTES
    for index, character in enumerate(text):
        left -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if left < 0:
            return text[:index] + "…"
    return text
