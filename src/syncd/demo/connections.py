"""The connections and webhook registrations of the tour. What stands in `settings` is all that syncd knows about a sample system."""

from __future__ import annotations

from syncd.demo.crmhooks import SCHEME
from syncd.demo.maillist import KEY_HEADER
from syncd.domain.jsontypes import JsonObject

TENANT = "acme"
CONTACT, ISSUE = "contact", "issue"
CRM, MAIL, GITHUB = "crm", "mail-list", "github-shop"
CRM_HOOK, GITHUB_HOOK = "crm-hook", "github-shop-hook"


def crm(url: str, key: str) -> JsonObject:
    """Both ways. Of a field that both sides changed the later change wins; about `note` a person decides."""
    return {
        "id": CRM,
        "tenantId": TENANT,
        "integrationId": "rest",
        "settings": {
            "baseUrl": f"{url}/api",
            "types": {
                CONTACT: {
                    "list": "/contacts",
                    "get": "/contacts/{id}",
                    "create": "/contacts",
                    "update": "/contacts/{id}",
                    "delete": "/contacts/{id}",
                    "items": "items",
                    "paging": {"style": "cursor", "parameter": "after", "limit": "limit", "next": "next"},
                    "since": "updatedSince",
                    "updatedAt": "updatedAt",
                    "deleted": "deleted",
                    "version": "revision",
                    "conditional": "if-match",
                    "creates": {"style": "idempotent"},
                    "wholeEvents": True,
                }
            },
        },
        "credential": {"kind": "bearer", "token": key},
        "entities": {
            CONTACT: {"direction": "both", "conflict": {"default": "last_write_wins", "fields": {"note": "manual"}}}
        },
    }


def crm_hook(secret: str) -> JsonObject:
    return {
        "id": CRM_HOOK,
        "tenantId": TENANT,
        "integrationId": "rest",
        "connectionId": CRM,
        **SCHEME,
        "secret": secret,
    }


#: What we call a field, and where the mail list has it.
NAMES = {
    "name": "person.display",
    "email": "address",
    "phone": "person.mobile",
    "company": "person.firm",
    "note": "remarks",
}


def mail_list(url: str, key: str) -> JsonObject:
    """Only written to. A create that got no answer is looked up by its reference before anything is sent again."""
    return {
        "id": MAIL,
        "tenantId": TENANT,
        "integrationId": "rest",
        "settings": {
            "baseUrl": f"{url}/v2",
            "types": {
                CONTACT: {
                    "list": "/members",
                    "get": "/members/{id}",
                    "create": "/members",
                    "update": "/members/{id}",
                    "updateMethod": "PUT",
                    "delete": "/members/{id}",
                    "items": "members",
                    "item": "member",
                    "wrap": "member",
                    "id": "number",
                    "updatedAt": "meta.changed",
                    "version": "meta.rev",
                    "conditional": "field",
                    "paging": {"style": "offset", "parameter": "skip", "limit": "take", "most": 20, "total": "count"},
                    "creates": {"style": "lookup", "parameter": "reference", "field": "reference", "delay": 1},
                    "fields": dict(NAMES),
                }
            },
        },
        "credential": {"kind": "api_key", "header": KEY_HEADER, "value": key},
        "entities": {CONTACT: {"direction": "push"}},
    }


def github() -> JsonObject:
    """Only receives: a repository that does not exist."""
    return {
        "id": GITHUB,
        "tenantId": TENANT,
        "integrationId": "github",
        "settings": {"owner": "acme", "repo": "shop"},
        "entities": {ISSUE: {"direction": "pull"}},
    }


def github_hook(secret: str) -> JsonObject:
    return {
        "id": GITHUB_HOOK,
        "tenantId": TENANT,
        "integrationId": "github",
        "connectionId": GITHUB,
        "scheme": "github",
        "secret": secret,
    }
