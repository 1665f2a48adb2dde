"""GitHub: the issues, pull requests and comments of one repository, and the repository itself.

content   what we keep of an object, in one shape wherever it came from
events    webhooks       https://docs.github.com/webhooks
paging    reading lists  https://docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api
records   the REST API   https://docs.github.com/rest
"""

from __future__ import annotations

from syncd.adapters.providers.github.events import Webhooks
from syncd.adapters.providers.github.records import GitHubRecords
from syncd.ports.provider import Provider

PROVIDER = Provider(
    name="github",
    title="GitHub",
    webhooks=Webhooks(),
    records=GitHubRecords(),
    # https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api, secondary limits: about 80 creations a minute.
    # What a figure per minute cannot say (500 creations an hour, 900 points a minute), GitHub says when it comes to that.
    limits={"all": 360, "create": 80},
)
