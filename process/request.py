"""The identity of the request that is being served, for logs and for calls that are made on its behalf.

Nothing else belongs here: what a request needs to know is passed to it as an argument.
"""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set by who takes a request up, for the time of that one; empty outside of any."""
