"""What the commands share in printing: tables, marks, progress, units."""

import math
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TextIO

Document = dict[str, Any]


def marks(stream: TextIO | None = None) -> tuple[str, str]:
    """Give the marks for right and wrong, in plain letters where `stream` cannot carry them."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    try:
        "✓✗".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "ok", "FAIL"
    return "✓", "✗"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Set `rows` in columns under `headers`, the first `left` of them flush left."""
    cells = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(row[j]) for row in cells) for j in range(len(headers))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if j < left else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def finite(value: float) -> float | None:
    """Give `value` as JSON can hold it: None where it is infinite or NaN."""
    return value if math.isfinite(value) else None


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape as in ``1000 x 10``."""
    return " x ".join(map(str, shape)) or "()"


class Progress:
    """One line on stderr that is rewritten as work goes on, and only on a terminal.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Number of steps.

    Examples
    --------
    >>> with Progress("check", 2) as progress:
    ...     progress.step("sigmoid")
    ...     progress.step("softmax")
    """

    INTERVAL = 0.05  # seconds between two writes: a terminal is slow

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.shown = 0
        self.last = -math.inf
        self.stream = sys.stderr
        self.live = self.stream is not None and self.stream.isatty()

    def step(self, what: str) -> None:
        """Show that `what` is being worked on now."""
        now = time.monotonic()
        if self.live and now - self.last >= self.INTERVAL:
            text = f"{self.label} {self.done}/{self.total} {what}"[:78]
            self.stream.write("\r" + text.ljust(self.shown))
            self.stream.flush()
            self.shown, self.last = len(text), now
        self.done += 1

    def __enter__(self) -> "Progress":
        """Start; nothing is shown before the first step."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Clear the line, also when the work was interrupted."""
        if self.shown:
            self.stream.write("\r" + " " * self.shown + "\r")
            self.stream.flush()
