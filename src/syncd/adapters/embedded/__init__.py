"""The embedded backend: one SQLite file, one writer thread, nothing else to install. It is also the test double of every flow."""
