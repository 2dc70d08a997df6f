"""Lines out of chunks of bytes.

Our own because aiohttp's readline() refuses a line longer than its buffer, and a pod can exceed that.
"""

from healer.cluster.errors import Unreadable


class Splitter:
    """Takes chunks as they come and gives the lines that are complete, without their ends; a line may be `limit` bytes long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # of the line under way; joined once, so that a long line costs linear time
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes. Raises Unreadable when one is too long."""
        head, newline, rest = chunk.partition(b"\n")
        self._parts.append(head)
        self._held += len(head)
        if self._held > self._limit:
            raise Unreadable(f"a line is longer than {self._limit} bytes")
        if not newline:
            return []
        *lines, tail = rest.split(b"\n")
        lines.insert(0, b"".join(self._parts))
        self._parts = [tail]
        self._held = len(tail)
        if self._held > self._limit or max(map(len, lines)) > self._limit:
            raise Unreadable(f"a line is longer than {self._limit} bytes")
        return lines

    @property
    def partial(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._held > 0
