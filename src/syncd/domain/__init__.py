"""The pure core: no async, no clock, no I/O, no vendor names. Everything here is a value or a function of values."""
