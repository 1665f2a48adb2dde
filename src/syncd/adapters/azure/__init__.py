"""The Azure backend: each port on the service that keeps it, through the service's own SDK, which is imported nowhere else.

    identity     one credential, shared by everything below
    errors       what the SDKs raise -> what syncd raises: one table
    cosmos       documents            servicebus   queue and topics
    keyvault     vault                blob         blobs
    containers   container groups

Each file opens one thing as an async context manager, takes plain values and one `observe`, and imports its SDK only when it is
used: the extra `azure` is needed by whoever chooses a service, and not before.
"""
