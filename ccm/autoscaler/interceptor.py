"""What surrounds every call: who may call, its deadline, one log line, and the way from an exception to a status."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from ccm.autoscaler.ports import AutoscalerError, Problem
from ccm.autoscaler.servicer import deadline_of

LOG = logging.getLogger("ccm.autoscaler.rpc")

STATUS_OF_PROBLEM = {
    Problem.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Problem.NO_GROUP: grpc.StatusCode.NOT_FOUND,
    Problem.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Problem.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Problem.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
}
_ORDERS = frozenset({"NodeGroupIncreaseSize", "NodeGroupDeleteNodes", "NodeGroupDecreaseTargetSize"})
"""Calls that change something; the others are asked every few seconds and logged at debug level."""
_NAMES = ("x509_subject_alternative_name", "x509_common_name")
_MAX_TEXT = 1000

Behavior = Callable[[Any, Any], Awaitable[Any]]
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps all calls of the server.

    `client_names` are the names of which a caller's certificate must carry one; empty admits every certificate that the
    authority signed.
    """

    def __init__(self, *, client_names: frozenset[str]) -> None:
        self._client_names = client_names

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give gRPC the wrapped handler; unknown methods pass through untouched."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method.rsplit("/", 1)[-1]
        behavior: Behavior = handler.unary_unary

        async def serve(request: Any, context: Context) -> Any:
            return await self._serve(method, behavior, request, context)

        return grpc.unary_unary_rpc_method_handler(
            serve, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    async def _serve(self, method: str, behavior: Behavior, request: Any, context: Context) -> Any:
        begin = time.perf_counter()
        code, text = grpc.StatusCode.OK, ""
        try:
            self._admit(context)
            async with asyncio.timeout_at(deadline_of(context)):
                return await behavior(request, context)
        except _NotAdmitted as error:
            code, text = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except AutoscalerError as error:
            code, text = STATUS_OF_PROBLEM[error.problem], error.message[:_MAX_TEXT]
        except TimeoutError:
            code, text = grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in the caller's time; the order may stand"
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code, text = grpc.StatusCode.INTERNAL, f"unexpected error in {method}; the log of the provider has it"
            LOG.exception("unexpected error in %s", method)
        finally:
            self._log(method, code, text, time.perf_counter() - begin)
        # Outside the handlers above: the end of a call is an exception too.
        return await context.abort(code, text)

    def _admit(self, context: Context) -> None:
        if not self._client_names:
            return
        shown = context.auth_context()
        names = {name.decode(errors="replace") for kind in _NAMES for name in shown.get(kind, ())}
        if not names & self._client_names:
            raise _NotAdmitted(
                f"the caller's certificate is for {', '.join(sorted(names)) or 'nobody'}, who may not call"
            )

    def _log(self, method: str, code: grpc.StatusCode, text: str, duration_s: float) -> None:
        is_fine = code in (grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED)
        level = (logging.INFO if method in _ORDERS else logging.DEBUG) if is_fine else logging.WARNING
        LOG.log(level, "%s: %s in %.3f s%s", method, code.name, duration_s, f": {text}" if text else "")


class _NotAdmitted(Exception):  # noqa: N818 - it says what happened
    """The caller may not call."""
