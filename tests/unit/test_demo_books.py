"""The demo's verdict over three systems: it finds what is lost and what is doubled, wherever it happened."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from syncd.demo.books import Balance, Ledgers, balance
from syncd.domain.jsontypes import JsonObject

CONTACTS = 3


def contact(number: int) -> JsonObject:
    return {
        "name": f"Ana {number}",
        "email": f"a{number}@example.com",
        "phone": "1",
        "company": "Adler",
        "note": "",
    }


class Books:
    """Ledgers that balance, to be spoilt: the CRM was told once of a change to 1001, and the note of 1002 waits for a person."""

    def __init__(self) -> None:
        numbers = range(1, CONTACTS + 1)
        self.crm: list[JsonObject] = [{"id": f"100{number}", "revision": 1, **contact(number)} for number in numbers]
        self.mail: list[JsonObject] = [
            {
                "number": number,
                "person": {"display": f"Ana {number}", "mobile": "1", "firm": "Adler"},
                "address": f"a{number}@example.com",
                "remarks": "",
                "reference": f"key{number}",
            }
            for number in numbers
        ]
        self.entities: list[JsonObject] = [
            {
                "id": f"e{number}",
                "data": contact(number),
                "externalIds": {"crm": f"100{number}", "mail-list": str(number)},
                "links": {"crm": {}, "mail-list": {}},
            }
            for number in numbers
        ]
        self.crm[1]["note"] = "theirs"
        self.entities[1]["links"]["crm"]["open"] = {"note": "conflict"}
        self.crm_requests: list[JsonObject] = [
            {"method": "GET", "path": "/api/contacts", "status": 200},
            {"method": "GET", "path": "/api/contacts", "status": 429},
            {"method": "PATCH", "path": "/api/contacts/1001", "status": 412},
            {"method": "PATCH", "path": "/api/contacts/1001", "status": 200, "contact": "1001"},
        ]
        self.mail_requests: list[JsonObject] = [
            {"method": "POST", "path": "/v2/members", "status": 201, "reference": f"key{number}"} for number in numbers
        ]
        self.mail_requests += [
            {"method": "POST", "path": "/v2/members", "status": 429},
            {"method": "GET", "path": "/v2/members", "status": 200, "sought": "key1"},
        ]
        self.hooks: list[JsonObject] = [
            {"what": "sending", "delivery": "d1"},
            {"what": "failed", "delivery": "d1"},
            {"what": "sending", "delivery": "d1"},
            {"what": "answered", "delivery": "d1"},
        ]
        self.rows: list[JsonObject] = [{"status": "processed", "headers": {"x-crm-delivery": "d1"}}]
        self.conflicts: list[JsonObject] = [{"status": "open"}, {"status": "resolved"}]

    def balance(self) -> Balance:
        return balance(Ledgers(**vars(self)), returns={"1001": 1})


def test_books_that_balance_are_good_and_say_what_happened() -> None:
    found = Books().balance()
    assert found.good
    assert (found.lost, found.doubled) == (0, 0)
    assert (found.contacts, found.stored, found.members) == (3, 3, 3)
    assert (found.told, found.applied) == (1, 1)
    assert (found.added, found.changed, found.removed, found.returned, found.sought) == (3, 0, 0, 1, 1)
    assert found.refused == {"crm": 1, "mail-list": 1}
    assert (found.by_rule, found.open) == (1, 1)


def forget_to_store(books: Books) -> None:
    del books.entities[0], books.mail[0]


def store_twice(books: Books) -> None:
    books.entities.append({**deepcopy(books.entities[2]), "id": "twin"})


def store_what_is_not_there(books: Books) -> None:
    del books.crm[2]


def forget_to_push(books: Books) -> None:
    del books.mail[0]
    del books.entities[0]["externalIds"]["mail-list"]


def push_twice(books: Books) -> None:
    books.mail.append({**deepcopy(books.mail[0]), "number": 9, "reference": "key9"})


def create_twice_and_delete_once(books: Books) -> None:
    books.mail_requests.append(books.mail_requests[0])


def leave_old_content_on_the_mail_list(books: Books) -> None:
    books.mail[2]["person"]["mobile"] = "old"


def leave_old_content_in_the_crm(books: Books) -> None:
    books.crm[0]["company"] = "old"


def lose_a_field_on_the_mail_list(books: Books) -> None:
    del books.mail[2]["person"]["firm"]


def differ_without_a_conflict(books: Books) -> None:
    del books.entities[1]["links"]["crm"]["open"]


def never_write_back(books: Books) -> None:
    del books.crm_requests[-1]


def write_back_twice(books: Books) -> None:
    books.crm_requests.append(books.crm_requests[-1])


def write_back_what_nobody_changed(books: Books) -> None:
    books.crm_requests.append({"method": "POST", "path": "/api/contacts", "status": 201, "contact": "1009"})


def lose_a_webhook(books: Books) -> None:
    books.rows.clear()


def leave_a_webhook_parked(books: Books) -> None:
    books.rows[0]["status"] = "parked"


def never_answer_a_webhook(books: Books) -> None:
    del books.hooks[-1]


def take_a_webhook_twice(books: Books) -> None:
    books.rows.append(books.rows[0])


@pytest.mark.parametrize(
    ("spoil", "lost", "doubled", "said"),
    [
        (forget_to_store, 1, 0, "1 contacts of the CRM are not stored, for example 1001"),
        (store_twice, 0, 1, "1 contacts are stored twice, for example 1003"),
        (store_what_is_not_there, 0, 1, "1 stored contacts are not in the CRM, for example 1003"),
        (forget_to_push, 1, 0, "1 stored contacts are not on the mail list, for example e1"),
        (push_twice, 0, 2, "1 contacts are on the mail list twice, for example a1@example.com"),
        (create_twice_and_delete_once, 0, 1, "1 contacts were created on the mail list twice, for example key1"),
        (leave_old_content_on_the_mail_list, 1, 0, "1 contacts differ in the mail list (phone), for example e3"),
        (leave_old_content_in_the_crm, 1, 0, "1 contacts differ in the CRM (company), for example e1"),
        (lose_a_field_on_the_mail_list, 1, 0, "1 contacts differ in the mail list (company), for example e3"),
        (differ_without_a_conflict, 1, 0, "1 contacts differ in the CRM (note), for example e2"),
        (never_write_back, 1, 0, "1 changes were not written to the CRM, for example 1001"),
        (write_back_twice, 0, 1, "1 writes to the CRM were not owed, or were made twice, for example 1001"),
        (
            write_back_what_nobody_changed,
            0,
            1,
            "1 writes to the CRM were not owed, or were made twice, for example 1009",
        ),
        (lose_a_webhook, 1, 0, "1 webhooks of the CRM got a 2xx and have no processed row, for example d1"),
        (leave_a_webhook_parked, 1, 0, "1 webhooks of the CRM got a 2xx and have no processed row, for example d1"),
        (never_answer_a_webhook, 1, 0, "1 webhooks of the CRM never got a 2xx, for example d1"),
        (take_a_webhook_twice, 0, 1, "1 webhooks of the CRM have more than one row, for example d1"),
    ],
)
def test_what_is_lost_or_doubled_is_found(spoil: Callable[[Books], None], lost: int, doubled: int, said: str) -> None:
    books = Books()
    spoil(books)
    found = books.balance()
    assert not found.good
    assert (found.lost, found.doubled) == (lost, doubled)
    assert said in found.problems
