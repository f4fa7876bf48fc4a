"""The command `tc-csi-node`: picks the program that the first word names.

    tc-csi-node [serve] …     the node plugin
    tc-csi-node doctor …      looks at this host and says what to do
    tc-csi-node pre-stop …    waits for the volumes of a node that is drained

Each is loaded only when it is run: a serving process has no use for the others, and a hook none for gRPC.
"""
# ruff: noqa: PLC0415 - see above

import sys
from collections.abc import Sequence

PROGRAM = "tc-csi-node"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with the process's arguments and give its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["doctor"]:
        from node import doctor

        return doctor.main(f"{PROGRAM} doctor", words[1:])
    if words[:1] == ["pre-stop"]:
        from node import pre_stop

        return pre_stop.main(f"{PROGRAM} pre-stop", words[1:])
    from node import app

    return app.main(words)


if __name__ == "__main__":
    sys.exit(main())
