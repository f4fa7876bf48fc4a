"""The identity of the RPC that is being served, for logs and for calls that are made on its behalf.

Nothing else belongs here: what an RPC needs to know is passed to it as an argument.
"""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set by the interceptor for the time of one RPC; empty outside of any."""
