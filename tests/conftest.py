"""What holds for every test: a clean environment, no blocking call on the event loop, repeatable examples."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests.integration.crash_points import CRASH_POINTS

#: Variables that syncd, its SDKs and the service manager read. The machine's own must not decide a test; they are removed before
#: the first import, and processes that tests start inherit the clean environment. COVERAGE_* stays: it measures those processes.
SCRUBBED = (
    "ACI_",
    "ACR_",
    "APPLICATIONINSIGHTS_",
    "AZURE_",
    "CELERY_",
    "COSMOS_",
    "DJANGO_",
    "FINOPS_",
    "FUNCTIONS_",
    "INSTANCE_",
    "KEY_VAULT_",
    "NOTIFY_SOCKET",
    "OTEL_",
    "PROVISIONING_",
    "REDIS_",
    "SB_",
    "SECRET_",
    "SERVICE_BUS_",
    "SKIP_SUBSCRIPTIONS",
    "SYNCD_",
    "SYNC_",
    "TOKEN_EXPIRY_",
    "WATCHDOG_",
)

#: Where syncd may block the event loop, each with its reason: (end of the file's path, functions).
MAY_BLOCK: tuple[tuple[str, frozenset[str]], ...] = (
    # Importing on first use (an extra, a provider) reads files once, under the import lock.
    ("<frozen importlib._bootstrap>", frozenset({"_find_and_load"})),
    # Coverage notes the lines of all threads under a lock of its own. Refusing it there would throw out of whatever line is traced,
    # a callback of the loop among them: an answer lost, and a test that waits for ever.
    ("coverage/collector.py", frozenset({"lock_data"})),
    # A stack trace that is being logged reads the source lines; it is written to be found at 3 a.m., and is rare.
    ("traceback.py", frozenset({"format_exception", "print_exception", "format_stack", "extract_tb", "extract_stack"})),
)

settings.register_profile(
    "ci",
    derandomize=True,  # the same examples everywhere: a red build is red on the next machine too
    max_examples=60,
    deadline=None,  # time is no verdict: the machine may be busy
    print_blob=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("deep", parent=settings.get_profile("ci"), derandomize=False, max_examples=5000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=["embedded", "azure"], help="run the acceptance tests on this backend alone")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
    for name in [name for name in os.environ if name.startswith(SCRUBBED)]:
        del os.environ[name]
    # In the background of a script SIGINT is ignored, and every process that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CRASH_POINTS != "all":
        terminalreporter.write_line(
            f"crashes: after each port call, on azure {CRASH_POINTS} of each scenario; before and after all: make chaos, or CRASH_POINTS=all"
        )


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call that syncd's code makes on a running event loop raises BlockingError where it is made.

    Asked for by coroutine tests alone: nothing else has a running loop of its own. A test that is about blocking takes the
    marker `may_block`.
    """
    if not inspect.iscoroutinefunction(getattr(request, "function", None)) or request.node.get_closest_marker(
        "may_block"
    ):
        yield
        return
    detector = BlockBuster(scanned_modules=["syncd"])
    for function in detector.functions.values():
        for filename, functions in MAY_BLOCK:
            function.can_block_in(filename, functions)
    detector.activate()
    try:
        yield
    finally:
        detector.deactivate()
