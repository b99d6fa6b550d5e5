"""A server that keeps objects as Amazon's S3 does: put whole, read whole or in ranges, listed, deleted; every request signed.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html

`with S3Server() as store:` listens on a free port of loopback, in a thread. Requests with another key than `ACCESS_KEY`, or a
body that isn't what its signature was made for, are refused."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ACCESS_KEY, SECRET_KEY, BUCKET = "AKIAOFTHEFAKE", "secret-of-the-fake", "parley-files"


class S3Server:
    """`objects` are the bytes by their keys; `asked` the requests as (method, key)."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.refused = 0
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def listing(self, prefix: str) -> bytes:
        """The answer to ListObjectsV2."""
        found = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size></Contents>"
            for key in sorted(self.objects)
            if key.startswith(prefix)
        ]
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>{''.join(found)}</ListBucketResult>"
        ).encode()


class _Handler(BaseHTTPRequestHandler):
    store: S3Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        _, bucket, key = [*unquote(parts.path).split("/", 2), ""][:3]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.store.asked.append((self.command, key))
        if not self._is_signed(body):
            self.store.refused += 1
            self._answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        elif bucket != BUCKET:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif not key:
            self._answer(200, self.store.listing(parse_qs(parts.query).get("prefix", [""])[0]))
        elif self.command == "PUT":
            self.store.objects[key] = body
            self._answer(200, b"")
        elif self.command == "DELETE":
            self.store.objects.pop(key, None)
            self._answer(204, b"")
        elif key not in self.store.objects:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._read(self.store.objects[key])

    def _is_signed(self, body: bytes) -> bool:
        said = self.headers.get("authorization", "")
        return (
            said.startswith(f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/")
            and self.headers.get("x-amz-content-sha256") == hashlib.sha256(body).hexdigest()
        )

    def _read(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted is None:
            self._answer(200, content)
            return
        first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
        self._answer(206, content[first : last + 1], {"content-range": f"bytes {first}-{last}/{len(content)}"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"content-length": str(len(body)), "content-type": "application/octet-stream", **(headers or {})}
        given |= {"etag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'}
        given |= {"last-modified": "Fri, 01 Jan 2027 00:00:00 GMT"}
        for name, value in given.items():
            if not (status == 204 and name.startswith("content-")):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""
