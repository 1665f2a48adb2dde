"""Made-up contacts, and what people change in them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from syncd.domain.jsontypes import JsonObject

#: What a contact holds besides what its system adds. The second system has other names for these.
FIELDS = ("name", "email", "phone", "company", "note")

_FIRST = ("Ada", "Béla", "Chidi", "Dana", "Emre", "Fátima", "Goran", "Hiệp", "Ines", "Jürgen", "Kaya", "Lê")
_LAST = ("Adler", "Brandt", "Costa", "Dąbrowski", "Eriksen", "Ferrari", "Gül", "Horváth", "Ito", "Jovanović")
_FIRMS = ("Adler & Söhne", "Blue Harbour", "Costa Lda", "Delta Freight", "Eriksen Oy", "Ferrari Tessuti")
_NOTES = ("", "prefers mail", "met at the fair", "call after ten", "wants the catalogue")


class Contacts:
    """The same for the same seed. No two have one e-mail address, and no change of a phone number repeats one."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._numbers = self._rising()
        self._made = 0

    def another(self) -> JsonObject:
        self._made += 1
        first, last = self._chance.choice(_FIRST), self._chance.choice(_LAST)
        return {
            "name": f"{first} {last}",
            "email": f"contact{self._made}@example.com",
            "phone": self.phone(),
            "company": self._chance.choice(_FIRMS),
            "note": self._chance.choice(_NOTES),
        }

    def phone(self) -> str:
        return f"+49 30 {next(self._numbers):07d}"

    def change(self) -> JsonObject:
        """What somebody at the desk would change: always a new phone number, at times the company as well."""
        changes: JsonObject = {"phone": self.phone()}
        if self._chance.random() < 0.3:
            changes["company"] = self._chance.choice(_FIRMS)
        return changes

    def pick(self, among: list[str]) -> str:
        return self._chance.choice(among)

    def _rising(self) -> Iterator[int]:
        number = 1_000_000
        while True:
            number += self._chance.randint(1, 3000)
            yield number % 10_000_000
