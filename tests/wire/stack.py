"""Everything that syncd needs on Azure, as doubles on this machine, and the environment that leads there.

    async with stack(directory) as running: running.environment ...
    python -m tests.wire stack                       prints the variables, and runs until it is stopped (--json: for programs)
    python -m tests.wire stack -- syncd run          runs a command with them, and ends with it

Service Bus, Cosmos DB, Key Vault and the identity endpoint are doubles in this process; Blob Storage is Azurite, Redis is Redis. What
is kept is gone when it ends. Database, containers and the start marker of the limits are made by what `check --create` calls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from syncd.adapters.azure.cosmos.checking import check_cosmos
from syncd.adapters.azure.cosmos.client import Options
from syncd.adapters.embedded.clock import SystemClock
from syncd.adapters.redis.checking import prepare_redis
from syncd.ports.observe import ignore
from tests.integration.redis.server import RedisServer
from tests.wire.azurite import Azurite
from tests.wire.cosmos import CosmosDouble
from tests.wire.identity import IdentityDouble
from tests.wire.keyvault import KeyVaultDouble
from tests.wire.servicebus import QueueSpec, ServiceBusDouble, service_bus

QUEUES = ("sync-inbound", "sync-outbound", "azure_api", "reports")
#: What the doubles' locks last, so that the messages of a killed replica come again soon. Seconds.
LOCK = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    environment: dict[str, str]
    service_bus: ServiceBusDouble
    cosmos: CosmosDouble
    key_vault: KeyVaultDouble
    identity: IdentityDouble
    redis: RedisServer
    azurite: Azurite


@asynccontextmanager
async def stack(directory: Path, *, lock: float = LOCK, latency: float = 0.0) -> AsyncIterator[Stack]:
    """`latency`: seconds by which the broker's and the documents' answers are late. Raises azurite.Unavailable."""
    async with AsyncExitStack() as opened:
        azurite = opened.enter_context(Azurite.started())
        redis = RedisServer(directory, "--maxmemory-policy", "noeviction")
        await asyncio.to_thread(redis.start)
        opened.callback(redis.stop)
        identity = await opened.enter_async_context(IdentityDouble().serving())
        vault = await opened.enter_async_context(KeyVaultDouble(identity).serving())
        clock = SystemClock(observe=ignore)
        cosmos = CosmosDouble(clock=clock, latency=latency)
        await cosmos.start()
        opened.push_async_callback(cosmos.stop)
        queues = [
            QueueSpec(name=f"{name}{lane}", lock_duration=lock, duplicate_detection=600.0)
            for name in QUEUES
            for lane in ("-high", "", "-low")
        ]
        bus = await opened.enter_async_context(service_bus(queues=queues, latency=latency, record=False))
        missing = await check_cosmos(
            endpoint=cosmos.endpoint,
            credential=cosmos.key,
            database="syncd",
            clock=clock,
            options=Options(enable_endpoint_discovery=False, connection_verify=False),
            create=True,
        )
        assert missing == [], missing
        await prepare_redis(url=redis.url)
        environment = {
            **identity.environment,
            "SYNCD_BACKEND__IDENTITY": "managed",
            "SYNCD_COSMOS__EMULATOR": "true",
            "COSMOS_ENDPOINT": cosmos.endpoint,
            "COSMOS_KEY": cosmos.key,
            "COSMOS_DATABASE": "syncd",
            "SERVICE_BUS_CONNECTION_STRING": bus.connection_string,
            "KEY_VAULT_URL": vault.url,
            "SYNCD_KEYVAULT__CA_FILE": vault.write_ca(directory),
            "SYNCD_KEYVAULT__VERIFY_CHALLENGE": "false",
            "REDIS_URL": redis.url,
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "AZURE_STORAGE_CONTAINER_NAME": "syncd",
            # The sample systems of demos and tests are on this machine.
            "SYNCD_HTTP__OUTGOING_ALLOW": "127.0.0.1",
        }
        yield Stack(
            environment=environment,
            service_bus=bus,
            cosmos=cosmos,
            key_vault=vault,
            identity=identity,
            redis=redis,
            azurite=azurite,
        )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.wire stack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="by which answers are late")
    parser.add_argument("--lock-duration", type=float, default=LOCK, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="the variables as one line of JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after `--`: what to run with the variables")
    return asyncio.run(_serve(parser.parse_args(arguments)))


async def _serve(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # From a terminal a command gets Ctrl-C as well, and ends in its own time.
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if options.command else stop.set)
    with TemporaryDirectory(prefix="syncd-wire-") as directory:
        async with stack(Path(directory), lock=options.lock_duration, latency=options.latency) as running:
            command = [part for part in options.command if part != "--"]
            if command:
                process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **running.environment})
                waiting, stopped = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
                await asyncio.wait((waiting, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    process.terminate()
                stopped.cancel()
                return await waiting
            if options.json:
                print(json.dumps(running.environment), flush=True)
            else:
                for name, value in running.environment.items():
                    print(f"export {name}={shlex.quote(value)}", flush=True)
            await stop.wait()
    return 0
