"""Ask a switchrecon server whether it answers, as Gadgetron's clients do: a configuration, then CLOSE.

Usage: python3 healthy.py HOST PORT; exit code 0 if it answers within three seconds. Needs Python alone.
"""

import socket
import struct
import sys

CLOSE = struct.pack("<H", 4)


def healthy(host: str, port: int) -> bool:
    """Whether the server answers CLOSE with CLOSE."""
    try:
        with socket.create_connection((host, port), 3) as peer:
            peer.sendall(struct.pack("<H1024s", 1, b"health") + CLOSE)
            peer.shutdown(socket.SHUT_WR)
            return peer.makefile("rb").read(64) == CLOSE
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not healthy(sys.argv[1], int(sys.argv[2])))
