"""The only way out to an address that a tenant chose: a provider's base URL, an image, a webhook.

    check        the URL is written so that nobody can read it in two ways, and is https at an allowed port
    resolve      once; a host with one address that isn't public has none
    connect      to just those addresses; asked again for each socket, so that nothing gets past the first two
    answer       no redirects, no cookies, no proxies of the environment; bounded headers, body and time

`check` and `guard` are for adapters, which have connections of their own to make; `fetch` gets a document. What a host
answers never appears in an error, and neither does whether a name has a private address or none at all.

Operators may allow networks that aren't public (`PARLEY_EGRESS_ALLOWED_NETWORKS`); these may be called over http and at
any port as well.
"""

from kernel.egress.addresses import Policy
from kernel.egress.client import Client, Fetched, client, fetch
from kernel.egress.errors import EgressError, FetchFailed, URLRefused
from kernel.egress.urls import Destination

__all__ = [
    "Client",
    "Destination",
    "EgressError",
    "FetchFailed",
    "Fetched",
    "Policy",
    "URLRefused",
    "client",
    "fetch",
]
