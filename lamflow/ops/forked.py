"""Has the fork server run what Python is asked to run here, and ends as it ends; without a server it becomes Python.

Runs as a file of its own in a Python that imports nothing else: see ops/fork_server.py.
"""

import json
import os
import socket
import struct
import sys


def main(words: "list[str]") -> int:
    """The exit status of `python WORDS`, a script or a module; 1 when the server has died and the job with it.

    A server that is still importing is waited for: it begins sooner than a Python that would import the same.
    """
    connection = socket.socket(socket.AF_UNIX)
    request = {"words": words, "cwd": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109  pathlib takes longer
    data = json.dumps(request).encode()
    try:
        connection.connect("\0" + os.environ["LAMFLOW_FORK_SERVER"])  # in no folder, so that nothing is left behind
        socket.send_fds(connection, [struct.pack("!I", len(data))], [1, 2])
        connection.sendall(data)
        has_begun = bool(connection.recv(1))
    except (OSError, KeyError):
        has_begun = False
    if not has_begun:  # the server is gone
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606
    answer = connection.recv(4)
    return struct.unpack("!i", answer)[0] if len(answer) == 4 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
