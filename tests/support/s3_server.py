"""A real S3 server on loopback, in a process of its own, and a proxy before it that cuts connections."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

BUCKET = "flows"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def running_server() -> Iterator[str]:
    """Start moto's server; yield its URL. It is empty but for the bucket."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "moto's server has ended"
            try:
                request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
                with urllib.request.urlopen(request, timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline, "moto's server does not answer"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


@dataclass
class CuttingProxy:
    """Passes connections on to a server, and cuts those that `cut_after` names.

    `cut_after(number)` gives how many bytes connection `number`, from 0 on, may carry from the client; None for all.
    """

    server_port: int
    cut_after: object = field(default=lambda number: None)
    answers_cut_after: object = field(default=lambda number: None)
    n_connections: int = 0
    n_cut: int = 0

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number, self.n_connections = self.n_connections, self.n_connections + 1
            server = socket.create_connection(("127.0.0.1", self.server_port))
            for source, target, limit in (
                (client, server, self.cut_after(number)),
                (server, client, self.answers_cut_after(number)),
            ):
                threading.Thread(target=self._pump, args=(source, target, limit, client, server), daemon=True).start()

    def _pump(self, source, target, limit, client, server):
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if limit is not None and carried + len(data) > limit:
                    target.sendall(data[: limit - carried])
                    with self._lock:
                        self.n_cut += 1
                    break
                target.sendall(data)
                carried += len(data)
        for end in (client, server):
            # A reset, as a connection that drops gives, and no orderly end.
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                end.shutdown(socket.SHUT_RDWR)
                end.close()
