"""The hub: from committed rows to open sockets. The protocol is the project's `parley.v1`."""
