"""SQL filters."""

from __future__ import annotations

from tests.wire.servicebus.message import Message


class Filter:
    def __init__(self, text: str) -> None:
        self.text = text

    def matches(self, message: Message) -> bool:
        return True
