"""Telling systemd how we are: one datagram of `KEY=VALUE` lines to `$NOTIFY_SOCKET`.

The protocol is that of sd_notify(3), https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html. Without the
variable every method does nothing, and a socket that is wrong, full or gone is observed once and never fails the daemon:
being supervised is a help, not a condition.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from syncd.ports.observe import Observe, ignore


class Notifier:
    """Sends states to the service manager. Never blocks, never raises; each method says whether the datagram left."""

    def __init__(self, *, address: str | None, observe: Observe = ignore) -> None:
        """`address`: a path, `@name` for an abstract socket, or None where nobody listens."""
        self._address = address or None
        self._observe = observe
        self._complained = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, observe: Observe = ignore) -> Notifier:
        return cls(address=environment.get("NOTIFY_SOCKET"), observe=observe)

    @property
    def supervised(self) -> bool:
        """True where a service manager gave us a socket."""
        return self._address is not None

    def ready(self, status: str | None = None) -> bool:
        """The start, or a reload, is over. Sent after a failed reload too, with a status that says so."""
        return self._send("READY=1", _status(status))

    def reloading(self, status: str | None = None) -> bool:
        """A reload begins; `ready` ends it.

        MONOTONIC_USEC is in the same message: `Type=notify-reload` tells by it that this answers its own SIGHUP, and
        `systemctl reload` of systemd >= 257 hangs without it.
        """
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", _status(status))

    def stopping(self, status: str | None = None) -> bool:
        """The shutdown has begun. Final: nothing takes it back."""
        return self._send("STOPPING=1", _status(status))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(_status(text))

    def watchdog(self) -> bool:
        """Alive; see `runtime.watchdog` for who may say so."""
        return self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for `seconds` from now for the start, reload or stop under way, for a drain longer than the unit allows."""
        return self._send(f"EXTEND_TIMEOUT_USEC={max(1, round(seconds * 1_000_000))}")

    def _send(self, *lines: str) -> bool:
        if self._address is None:
            return False
        try:
            # A socket for each message: the manager may have replaced its own since (daemon-reexec), and they are rare.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(line for line in lines if line).encode(), _resolve(self._address))
        except (OSError, ValueError) as error:
            if not self._complained:
                self._observe("notify_failed", address=self._address, error=str(error))
            self._complained = True
            return False
        self._complained = False
        return True


def _status(text: str | None) -> str:
    """A newline would begin another assignment."""
    return "" if text is None else "STATUS=" + " ".join(text.split())


def _resolve(address: str) -> str:
    if address.startswith("@"):
        return "\0" + address[1:]
    if not address.startswith("/"):
        raise ValueError("neither a path nor an abstract socket (@name)")
    return address
