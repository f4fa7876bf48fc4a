"""httpx without what it loads or looks for in vain. Import httpx through this module.

Its own command line: it loads click and rich wherever they happen to be installed, 80 ms and 6 MiB for every process of
ours. And sniffio, which tells asyncio from trio: where it is not installed, its absence is found out anew, by a search
through the whole path, about ten times per request, a fifth of a request's cost.
"""

import importlib.util
import sys

_COMMAND_LINE = "httpx._main"
_LIBRARY_TELLER = "sniffio"

# None makes the import system raise ImportError at once, which both libraries understand as "not installed".
if _LIBRARY_TELLER not in sys.modules and importlib.util.find_spec(_LIBRARY_TELLER) is None:
    sys.modules[_LIBRARY_TELLER] = None  # type: ignore[assignment]

if "httpx" in sys.modules:
    import httpx
else:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        del sys.modules[_COMMAND_LINE]

__all__ = ["httpx"]
