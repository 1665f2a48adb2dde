"""Settings: one frozen, typed value, validated whole before anything else happens.

`load` reads TOML, env files, the environment, the stored overlay and flags, and raises ConfigurationError with every problem at
once. `Loaded` remembers where each value came from; `diff` says what a reload changes.
"""

from __future__ import annotations

from syncd.settings.changes import Change, diff, shadowed_changes
from syncd.settings.errors import ConfigurationError, Problem, Source
from syncd.settings.loading import Loaded, Shadowed, find_config, load
from syncd.settings.root import Settings
from syncd.settings.sections.daemon import ROLES, Role

__all__ = [
    "ROLES",
    "Change",
    "ConfigurationError",
    "Loaded",
    "Problem",
    "Role",
    "Settings",
    "Shadowed",
    "Source",
    "diff",
    "find_config",
    "load",
    "shadowed_changes",
]
