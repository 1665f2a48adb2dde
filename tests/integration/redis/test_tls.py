"""Redis over TLS, as Azure serves it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from syncd.adapters.redis.checking import ping_redis, prepare_redis
from syncd.adapters.redis.limiter import open_redis_limiter
from syncd.domain.errors import Unavailable
from syncd.ports.limiter import Level
from tests.acceptance.process import free_port
from tests.integration.redis.clocks import OwnTime
from tests.integration.redis.events import Events
from tests.integration.redis.server import redis_server


async def test_a_limiter_over_tls_decides_and_trusts_only_the_authority_it_was_given(tmp_path: Path) -> None:
    authority, another = trustme.CA(), trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    another.cert_pem.write_to_path(tmp_path / "another.pem")
    port = free_port()
    files = [("key-file", "key.pem"), ("cert-file", "cert.pem"), ("ca-cert-file", "ca.pem")]
    options = [part for name, file in files for part in (f"--tls-{name}", str(tmp_path / file))]
    with redis_server("--tls-port", str(port), "--tls-auth-clients", "no", *options):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}"
        await prepare_redis(url=f"{url}/ca.pem")
        events = Events()
        async with open_redis_limiter(url=f"{url}/ca.pem", clock=OwnTime(), observe=events) as limiter:
            assert (await limiter.take([Level("api:t1", 100)])).remaining == 89
        assert events.names == []
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await ping_redis(url=f"{url}/another.pem")
        async with open_redis_limiter(url=f"{url}/another.pem", clock=OwnTime(), observe=events) as limiter:
            assert limiter.health().status == "degraded"
            assert "ertificate" in limiter.health().detail
