"""The use-cases: plain async code over domain and ports. No HTTP, no SDK, no SQL."""
