"""Key Vault's secrets over TLS, strict about what the service refuses (`refusals.py` lists it with sources)."""

from tests.wire.keyvault.double import KeyVaultDouble

__all__ = ["KeyVaultDouble"]
