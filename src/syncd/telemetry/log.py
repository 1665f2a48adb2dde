"""Log lines: one way out for structlog and the standard library alike, JSON or console, secrets taken out last.

    structlog.get_logger()  --\\
                                >-- correlation fields, time, level, exception as text -- Redaction -- JSON | console -- stream
    logging.getLogger()     --/
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from syncd.telemetry.observe import Logger
from syncd.telemetry.redaction import KnownSecrets, Redaction

#: Fields that follow a unit of work through everything that is logged while it lasts.
CORRELATION = ("correlationId", "executionId", "integrationId", "tenantId", "connectionId", "function")
#: Libraries that write a line per request; theirs are shown from debug on only.
TALKATIVE = ("aiohttp.access", "apscheduler", "azure", "asyncio", "urllib3")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\n\t"}


class Logs:
    """The log of one process. `configure` takes over structlog, `logging`, warnings and uncaught exceptions; once."""

    def __init__(self, *, known_secrets: KnownSecrets | None = None) -> None:
        self.known_secrets = known_secrets or KnownSecrets()
        self._redaction = Redaction(self.known_secrets)

    def configure(self, *, level: str = "info", json: bool | None = None, stream: TextIO | None = None) -> None:
        """`json=None`: console where the stream is a terminal, JSON otherwise."""
        stream = stream or sys.stderr
        if json is None:
            json = not stream.isatty()
        shared: list[Processor] = [
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            structlog.processors.format_exc_info,
        ]
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *shared,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
        rendering: list[Processor] = (
            [structlog.processors.JSONRenderer()]
            if json
            else [_printable, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        )
        handler = logging.StreamHandler(stream)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=shared,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, self._redact, *rendering],
            )
        )
        logging.raiseExceptions = False  # a line that cannot be written must not be dumped raw, arguments and all
        root = logging.getLogger()
        root.handlers[:] = [handler]
        logging.captureWarnings(True)
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Takes effect at once. Raises KeyError for a level that is none."""
        logging.getLogger().setLevel(LEVELS[level])
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)

    def catch_uncaught(self) -> None:
        """Log what would otherwise be printed raw: uncaught exceptions of the process and of threads, failed finalizers."""
        crashed = structlog.get_logger("syncd.crash")

        def uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
            if not issubclass(kind, KeyboardInterrupt):
                crashed.critical("uncaught_exception", exc_info=(kind, error, traceback))

        def in_thread(facts: threading.ExceptHookArgs) -> None:
            if facts.exc_value is not None and not issubclass(facts.exc_type, SystemExit):
                crashed.error(
                    "uncaught_exception_in_thread",
                    thread=facts.thread.name if facts.thread else None,
                    exc_info=(facts.exc_type, facts.exc_value, facts.exc_traceback),
                )

        sys.excepthook = uncaught
        threading.excepthook = in_thread
        sys.unraisablehook = lambda facts: crashed.error(
            "unraisable_exception",
            exc_info=(facts.exc_type, facts.exc_value, facts.exc_traceback) if facts.exc_value else None,
        )

    def _redact(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return self._redaction.fields(event)


def get_logger() -> Logger:
    """The product's own logger, for those who may not know the library."""
    logger: Logger = structlog.get_logger("syncd")
    return logger


@contextmanager
def correlated(**fields: str | None) -> Iterator[None]:
    """Every line of this task, and of tasks it starts meanwhile, carries these fields (of CORRELATION; None is left out)."""
    unknown = fields.keys() - set(CORRELATION)
    if unknown:
        raise ValueError(f"no correlation fields: {', '.join(sorted(unknown))}; there are {', '.join(CORRELATION)}")
    with structlog.contextvars.bound_contextvars(
        **{name: value for name, value in fields.items() if value is not None}
    ):
        yield


def _printable(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """On a terminal, text from outside must not move the cursor or pretend to be another line."""
    for key, value in event.items():
        if isinstance(value, str):
            text = value.translate(_CONTROL)
            event[key] = text if key == "exception" else text.replace("\n", "\\n")
    return event
