"""Doubles by hand: what `python -m tests.wire keyvault`, `arm` and `identity` start.

A service whose tokens have to come from somewhere brings the identity endpoint with it. The line printed holds the variables and
settings that lead there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.wire.arm import ArmDouble
from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble


def keyvault(arguments: Sequence[str]) -> int:
    return _run("keyvault", arguments)


def arm(arguments: Sequence[str]) -> int:
    return _run("arm", arguments)


def identity(arguments: Sequence[str]) -> int:
    return _run("identity", arguments)


def _run(which: str, arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.wire {which}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="by which every answer is late")
    parser.add_argument("--settling", type=float, default=0.0, metavar="SECONDS", help="that changes take to be done")
    parser.add_argument("--lifetime", type=float, default=86400.0, metavar="SECONDS", help="of each token")
    asyncio.run(_serve(which, parser.parse_args(arguments)))
    return 0


async def _serve(which: str, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="syncd-wire-")))
        own = IdentityDouble(lifetime=options.lifetime)
        alone = which == "identity"
        await stack.enter_async_context(own.serving(options.port if alone else 0))
        told: dict[str, str] = dict(own.environment)
        own.faults.latency = options.latency if alone else 0.0
        if which == "keyvault":
            vault = await stack.enter_async_context(KeyVaultDouble(own).serving(options.port))
            vault.faults.latency, vault.store.settling = options.latency, options.settling
            told |= {"KEY_VAULT_URL": vault.url, "ca_file": vault.write_ca(directory)}
        elif which == "arm":
            manager = await stack.enter_async_context(ArmDouble(own).serving(options.port))
            manager.faults.latency, manager.settling = options.latency, options.settling
            told |= {"base_url": manager.url, "ca_file": manager.write_ca(directory)}
            told |= {"AZURE_SUBSCRIPTION_ID": manager.subscription, "AZURE_RESOURCE_GROUP": manager.resource_group}
        print(json.dumps(told), flush=True)
        await stop.wait()
