"""syncd: one asyncio daemon that keeps companies' systems in step."""

__version__ = "0.1.0"
