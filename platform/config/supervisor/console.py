"""The one log: each line with the name of the process it comes from, in a colour of its own on a terminal."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TextIO

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_NAME_WIDTH = 9


class Console:
    """Writes to `stream` line by line. When nobody reads any more, `on_closed` is called, once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {}
        self._closed = False
        self.on_closed: Callable[[], None] | None = None

    def line(self, name: str, text: str) -> None:
        """One line of the process `name`."""
        label = f"{name:<{_NAME_WIDTH}}|"
        if self._coloured:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            label = f"\x1b[{colour}m{label}\x1b[0m"
        self._write(f"{label} {text}\n")

    def say(self, text: str) -> None:
        """One line of the supervisor itself."""
        self.line("parley", text)

    def headline(self, text: str) -> None:
        """A line that people and programs look for: as it is, without a name before it."""
        self._write(f"\x1b[1m{text}\x1b[0m\n" if self._coloured else f"{text}\n")

    def _write(self, text: str) -> None:
        if self._closed:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._closed = True
            self._discard_rest()
            if self.on_closed:
                self.on_closed()
        except OSError:
            # The disk of a log may be full: its lines are lost, and nothing else for their sake.
            return
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _discard_rest(self) -> None:
        """Else what is still buffered fails once more when the process ends."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
