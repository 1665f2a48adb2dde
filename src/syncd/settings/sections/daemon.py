"""`[daemon]`: the process itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from syncd.settings.sections.section import Section
from syncd.settings.values import Directory, Duration, Form, Switch, Text, listed, setting

Role = Literal["webhooks", "inbound", "outbound", "scheduler", "scaler", "advisor", "finops"]
ROLES: tuple[Role, ...] = get_args(Role)


class DaemonSettings(Section):
    data_dir: Directory = setting(
        Path("var"),
        "Where the store, the vault's key, blobs, the spool and syncd.pid live. One daemon owns it. A relative path counts from "
        "the working directory, so that a first try needs no rights; units and images set /var/lib/syncd.",
        early=True,
    )
    data_dir_durable: Switch = setting(
        True,
        "Whether the data directory outlives the process. Only then may a webhook be answered 200 from the local spool. True "
        "for embedded, false for azure, where the disk of a container is usually lost with it.",
        early=True,
    )
    roles: Annotated[tuple[Role, ...], BeforeValidator(listed), Form("a list of: " + ", ".join(ROLES))] = setting(
        ROLES,
        "Which parts this process runs. All by default: one process is the whole product. A role needs only its own dependencies.",
        restart=True,
    )
    drain_timeout: Duration = setting(
        8.0,
        "How long work in hand may finish after SIGTERM before it is cancelled and given back. Below the 10 s after which "
        "`docker stop` kills.",
        unit="s",
        most=3600,
    )
    lame_duck: Duration = setting(
        0.0,
        "How long requests are still served after /readyz has turned 503, so that a load balancer notices. 0 s embedded (nobody "
        "is in front), 10 s azure.",
        unit="s",
        most=600,
    )
    replica: Text | None = setting(
        None,
        "Name of this process in leases and logs. Left out: the host name. Needed only where two replicas share one.",
        restart=True,
    )
