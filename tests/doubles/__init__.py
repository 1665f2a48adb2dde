"""Doubles of providers: real HTTP servers that behave as the provider's documentation says, with a log of their own.

A provider that declares `records` has one file here with its own name (`-` is `_`), which declares `DOUBLES`: a name for each way in
which the provider is configured -> what makes a double of it (`contract.ProviderDouble`). The conformance suite finds it by name.
"""
