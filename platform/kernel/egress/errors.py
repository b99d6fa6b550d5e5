"""What goes wrong on the way out.

EgressError (InvalidRequest)   400
├── URLRefused                 400  url_refused      it is not called at all
└── FetchFailed                400  url_not_fetched  it was called, and no usable document came
"""

from kernel.errors import InvalidRequest


class EgressError(InvalidRequest):
    """The URL can't be used."""


class URLRefused(EgressError):
    """The URL may not be called."""

    code = "url_refused"


class FetchFailed(EgressError):
    """The URL could not be fetched."""

    code = "url_not_fetched"
