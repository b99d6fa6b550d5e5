"""The broker's address as Celery reads it, from one as Redis clients read it."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit


def broker_url(redis_url: str) -> str:
    """The same server and database in Celery's spelling.

    A Redis client takes the database's number from `?db=`, or from the path of a `redis://` address. Kombu, through which
    Celery speaks, refuses the first of a network address and doesn't see it in a socket's, where it takes `?virtual_host=`:
    it would use database 0, and share the queue with whoever else does.
    """
    parts = urlsplit(redis_url)
    query = dict(parse_qsl(parts.query))
    number = query.pop("db", None)
    if parts.scheme == "unix":
        if number is not None:
            query["virtual_host"] = number
        # Written out: `urlunsplit` drops the slashes of an empty host.
        return f"redis+socket://{parts.netloc}{parts.path}" + (f"?{urlencode(query)}" if query else "")
    if number is None:
        return redis_url
    return urlunsplit(parts._replace(path=f"/{number}", query=urlencode(query)))
