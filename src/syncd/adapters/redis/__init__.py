"""The distributed limiter and its Lua."""
