"""Settings whose value is `vault:name`: read from the vault once it is open.

A start waits for a vault that is away: without what it keeps, the settings say something else than what was meant. A reference that is
wrong is a mistake of the settings, and ends the start as any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from syncd.domain.errors import Failure
from syncd.domain.secrets import Secret
from syncd.ports.clock import Clock
from syncd.ports.observe import Observe
from syncd.ports.vault import Vault
from syncd.runtime.notify import Notifier
from syncd.settings import ConfigurationError, Loaded, Problem

#: Between two tries. With what one takes it is below the 10 s in which a service that is back is used again. Seconds.
PAUSE = 3.0
#: What a service manager is asked for at each try, from then on: more than the longest one and its pause. Seconds.
LONGEST_TRY = 90.0


async def with_vault(loaded: Loaded, vault: Vault) -> Loaded:
    """The references filled in; the newest version, because a setting has no document to point at one. Raises ConfigurationError for
    a secret that is not there or that we may not read, and the vault's own errors."""
    found: dict[str, Secret] = {}
    for key, name in loaded.pending.items():
        if name in found:
            continue
        try:
            versions = await vault.versions(name)
            if versions:
                found[name] = await vault.get(name, versions[-1])
        except Failure as error:
            if not _is_refused(error):
                raise
            text = f"the vault does not hand out the secret {name!r}: {error}"
            fix = "give this identity the right, or name another secret"
            raise ConfigurationError([Problem(text=text, fix=fix, key=key, source=loaded.sources.get(key))]) from error
    return loaded.resolved(found) if loaded.pending else loaded


async def awaited(
    loaded: Loaded,
    vault: Vault,
    *,
    clock: Clock,
    observe: Observe,
    meanwhile: Callable[[], AbstractAsyncContextManager[None]],
) -> Loaded:
    """The same, for as long as the vault is away; then in `meanwhile`."""
    try:
        return await with_vault(loaded, vault)
    except Failure as error:
        failure = error
    notifier = Notifier.from_environment(os.environ, observe=observe)
    async with meanwhile():
        while True:
            keys = ", ".join(sorted(loaded.pending))
            observe("vault_awaited", keys=keys, error=failure)
            notifier.status(f"waiting for the vault, which has the values of {keys}: {failure}")
            notifier.extend_timeout(LONGEST_TRY)
            await clock.sleep(PAUSE)
            try:
                filled = await with_vault(loaded, vault)
            except Failure as error:
                failure = error
            else:
                notifier.status("starting: the vault is there")
                return filled


def _is_refused(error: Failure) -> bool:
    """The vault is there, and says no: by its retry facts, or because of who we are. That is Unavailable to all other work, which waits
    until somebody has given the right back."""
    return error.retry == "never" or getattr(error.__cause__, "status_code", None) in (401, 403)
