"""How a fake upstream is to answer, whatever its format, and what it keeps of it.

**Script** (JSON object; every field optional):

    text               the answer; default: "You said: " and the last user message
    reasoning          comes before the text; signature: the proof of it, in formats that have one
    tool_calls         [{"id","name","arguments"}]
    chunk              code points per chunk (default 4)
    delay_ms           before each chunk; first_delay_ms: before the first instead
    usage              "asked" (default: when include_usage asks for it) | "always" | "never" | "changes" (sent before
                       with other numbers; the last hold)
    prompt_tokens, completion_tokens    the tally, if not this server's own
    cached_tokens, cache_write_tokens   of the prompt, read from and written to a cache
    reasoning_tokens                    of the completion
    finish_reason      in the format's own words; default that of an answer that ended by itself, or by calls; null
                       leaves it out
    done               false leaves out what closes a stream after its answer ([DONE], message_stop)
    hang_at_end        true keeps the stream open after its last frame
    id, role           false leaves the `id`, the opening frame without content out
    null_content       true puts "content": null where there is none
    comments           true sends comments (pings) between frames
    crlf               true ends lines with CRLF
    split              send the stream's bytes in pieces of so many bytes, whatever they hold
    fault              one of FAULTS; fault_after: chunks sent before those in mid-stream (default 2)
    retry_after        seconds, the header of the answers to limits
    status             with fault "status": the HTTP status; body: the answer as it is

**Record** of a request: `id` (as answered), `model`, `stream`, `prompt` (the last user message), `body` (as
received), `headers`, `text` (of the chunks sent whole, exactly), `chunks`, `prompt_tokens`,
`completion_tokens` (its own tally: a token per word read, and per chunk sent), `reported` (usage was sent),
`outcome`: "complete" | "fault" | "disconnected" | "open", `path` (with its query, where a format says more in it
than its name).

A chunk counts as sent when its bytes were handed to the kernel: a client that left may not have read the last
of them.
"""

from dataclasses import dataclass, field
from typing import Any

FAULTS = {
    "401": "wrong key",
    "403": "not allowed",
    "404": "unknown model",
    "429": "rate limit, with Retry-After",
    "quota": "429 insufficient_quota",
    "400": "invalid request",
    "too_long": "400 context_length_exceeded",
    "content_policy": "400 content_policy_violation",
    "500": "server error in JSON",
    "500_text": "server error in HTML",
    "503": "overloaded",
    "redirect": "302 to elsewhere",
    "status": "`status` with `body`",
    "hang_before_headers": "never answers",
    "hang_before_first_token": "headers, then nothing",
    "hang": "stops in mid-stream, connection open",
    "cut_before_headers": "closes without an answer",
    "cut": "closes in mid-stream",
    "end": "ends the stream properly, in the middle of the answer",
    "garbage": "a frame that is not JSON in mid-stream",
    "garbage_body": "200 with something that is not JSON",
    "error_body": "200 with an error as the body",
    "error_frame": "an error frame in mid-stream",
    "huge_frame": "a frame that never ends",
}


@dataclass
class Script:
    """See the module."""

    text: str | None = None
    reasoning: str = ""
    signature: str = ""
    tool_calls: list[dict[str, str]] = field(default_factory=list)
    chunk: int = 4
    delay_ms: float = 0
    first_delay_ms: float | None = None
    usage: str = "asked"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    finish_reason: str | None = ""
    done: bool = True
    hang_at_end: bool = False
    id: bool = True
    role: bool = True
    null_content: bool = False
    comments: bool = False
    crlf: bool = False
    split: int = 0
    fault: str | None = None
    fault_after: int = 2
    retry_after: float | None = None
    status: int = 500
    body: str = ""

    def __post_init__(self) -> None:
        if self.fault is not None and self.fault not in FAULTS:
            raise ValueError(f"no fault {self.fault!r}; there are: {', '.join(FAULTS)}")


@dataclass
class Record:
    """See the module."""

    id: str
    model: str
    stream: bool
    prompt: str
    body: dict[str, Any]
    headers: dict[str, str]
    text: str = ""
    chunks: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reported: bool = False
    outcome: str = "open"
    path: str = ""
