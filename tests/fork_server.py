"""An `ahekit` for a shell's PATH whose processes are forked from one that has imported torch already.

Each of them still has its own streams, working folder, environment and exit status; what it saves is the five seconds
of processor time that importing takes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

CLIENT = """#!{python} -SE
import json, os, socket, sys
request = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [request], [0, 1, 2])
    sys.exit(ord(server.recv(1) or chr(255)))
"""


@contextmanager
def forking_ahekit() -> Iterator[Path]:
    """The folder of an executable `ahekit`, which works while the context lasts."""
    # Not in a folder of pytest's: a socket's address is short.
    with TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        client = Path(folder, "ahekit")
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        client.chmod(0o755)
        root = Path(__file__).parents[1]
        command = [sys.executable, "-m", "tests.fork_server", address]
        with subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield Path(folder)
            finally:
                server.kill()


def serve(address: str) -> None:
    """Answer until killed."""
    import matplotlib.figure  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import timm  # noqa: F401
    import torch._dynamo
    import torch.export  # noqa: F401

    import ahekit.__main__  # noqa: F401

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, b"ready\n")
        while True:
            connection, _ = server.accept()
            with connection:
                request, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
                if os.fork() == 0:
                    server.close()
                    connection.send(bytes([answer(request, streams)]))
                    os._exit(0)
            for stream in streams:
                os.close(stream)


def answer(request: bytes, streams: list[int]) -> int:
    """Be the process that was asked for; its exit status."""
    sys.argv, folder, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    from ahekit.__main__ import main

    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
