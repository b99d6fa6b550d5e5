"""A client for HTTP/1.1, as much of it as upstreams need: bounded, hardened, and a fifth of the cost of one that can everything.

    connection  one connection: a request goes out, the reply comes in, one after the other (`httptools` parses)
    dial        where connections come from: names to addresses, addresses to sockets, sockets to TLS
    pool        connections kept open between requests, by origin

No redirects, no cookies, no proxies, no unpacking: a reply in an encoding that was not asked for is no reply.
"""
