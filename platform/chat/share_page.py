"""The page of a shared conversation: made here, without script, so that whoever has the link needs no app."""

import base64
import hashlib
from datetime import UTC

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.views import View

from chat.api.shares import UNSEEN
from chat.services.shares import Shared, SharedMessage, read_share
from chat.share_throttle import count_view
from kernel.errors import NotFound, ParleyError
from kernel.loop import on_loop
from kernel.net import client_address

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #5b6370; --paper: #fbfbfa; --card: #fff; --line: #e3e4e7;
  --mark: #2f5bd0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9ec; --soft: #9aa3b2; --paper: #14161a; --card: #1c1f25; --line: #2c313a; --mark: #8fb0ff }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 .25rem; overflow-wrap: anywhere }
.about, footer { color: var(--soft); font-size: .875rem }
article { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .875rem 1rem; margin-top: 1rem }
article.model { border-left: 3px solid var(--mark) }
header { display: flex; flex-wrap: wrap; gap: 0 .75rem; align-items: baseline; margin-bottom: .375rem }
header b { overflow-wrap: anywhere }
time { color: var(--soft); font-size: .8125rem }
.said { white-space: pre-wrap; overflow-wrap: anywhere }
footer { margin-top: 2rem }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>{content}</main></body>
</html>
"""


class SharePageView(View):
    """A shared conversation, for people."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """The page; of what isn't there (any more), a page that says so."""
        forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
        try:
            count_view(client_address(request.META.get("REMOTE_ADDR"), forwarded_for, settings.TRUSTED_PROXIES))
            return _answer(_conversation(on_loop(read_share(token))), status=200)
        except NotFound:
            return _answer(("Not found", _notice("This link leads nowhere, or no longer does.")), status=404)
        except ParleyError as error:
            response = _answer(("Not now", _notice(error.message)), status=error.status)
            for name, value in error.headers.items():
                response[name] = value
            return response


def _answer(page: tuple[str, SafeString], *, status: int) -> HttpResponse:
    title, content = page
    style = mark_safe(STYLE)  # noqa: S308 - a constant
    response = HttpResponse(format_html(_PAGE, title=title, style=style, content=content), status=status)
    for name, value in {**UNSEEN, "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}.items():
        response[name] = value
    return response


def _conversation(shared: Shared) -> tuple[str, SafeString]:
    said = format_html_join("", "{}", ((_article(message),) for message in shared.messages))
    content = format_html(
        '<h1>{}</h1><p class="about">Shared on {}. This is how the conversation was then.</p>{}'
        "<footer>The link holds until {}. Answers of models can be wrong.</footer>",
        shared.title,
        f"{shared.created_at.astimezone(UTC):%d %B %Y}",
        said or _notice("Nothing of it is left."),
        f"{shared.expires_at.astimezone(UTC):%d %B %Y}",
    )
    return shared.title, content


def _article(message: SharedMessage) -> SafeString:
    return format_html(
        '<article class="{}"><header><b>{}</b><time datetime="{}">{}</time></header><div class="said">{}</div></article>',
        message.kind,
        message.name,
        message.at.isoformat(),
        f"{message.at.astimezone(UTC):%d %b %Y, %H:%M} UTC",
        message.text,
    )


def _notice(text: str) -> SafeString:
    return format_html("<p>{}</p>", text)
