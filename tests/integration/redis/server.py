"""A real redis-server of one's own, that can be killed, restarted, paused and looked into."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.acceptance.process import free_port


class RedisServer:
    def __init__(self, place: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._place = place
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise FileNotFoundError("redis-server is not installed")
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._place), "--save", ""]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        ends = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < ends, "redis-server does not come up"
            time.sleep(0.02)  # a process that starts gives no signal that could be waited for

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)
        self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self.kill()

    def run(self, *command: str) -> object:
        with redis.Redis(port=self.port, socket_timeout=60) as client:
            return client.execute_command(*command)

    def follow(self, leader: RedisServer) -> None:
        """Wait until this replica has all that its leader had when it was asked."""
        offset = int(leader._replication()["master_repl_offset"])
        ends = time.monotonic() + 60
        while not self._has(offset):
            assert time.monotonic() < ends, "the replica does not catch up"
            time.sleep(0.02)  # a replica gives no signal that could be waited for

    def _has(self, offset: int) -> bool:
        told = self._replication()
        return told["master_link_status"] == "up" and int(told["slave_repl_offset"]) >= offset

    def _replication(self) -> dict[str, str]:
        told = self.run("INFO", "replication")
        assert isinstance(told, dict)
        return {name: str(value) for name, value in told.items()}

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                return False
        try:
            return self.run("PING") is True
        except redis.RedisError:
            return False


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as place:
        server = RedisServer(Path(place), *options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
