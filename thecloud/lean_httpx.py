"""httpx without its command line.

httpx loads click and rich for its own command line wherever they happen to be installed. That costs every process of
ours 80 ms and 6 MiB for nothing, so that it is told that they are not there. Import httpx through this module.
"""

import sys

_COMMAND_LINE = "httpx._main"

if "httpx" in sys.modules:
    import httpx
else:
    # None makes the import system raise ImportError, which httpx understands as "not installed".
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        del sys.modules[_COMMAND_LINE]

__all__ = ["httpx"]
