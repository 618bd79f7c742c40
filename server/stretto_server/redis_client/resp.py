"""The Redis protocol (RESP2), without I/O: commands to bytes, bytes to replies."""

from typing import Any, Final

Argument = str | bytes | int
Reply = Any
"""``bytes``, ``int``, None, a list of replies, or inside a list a :class:`ReplyError`."""

_END: Final = b"\r\n"
_MOST_LINE_BYTES: Final = 64 * 1024
"""Lines are lengths, numbers and short texts; a longer one comes from something else."""


class ProtocolError(Exception):
    """Raised when the other side does not speak RESP: give the connection up."""


class ReplyError(Exception):
    """An error that Redis answered; ``code`` is its first word (``WRONGTYPE``, ``MOVED`` …)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.code = text.partition(" ")[0]


def encode(*arguments: Argument) -> bytes:
    """Return one command as it goes over the wire."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class ReplyReader:
    """Cuts a stream of bytes into replies.

    It remembers how far it came, so a large reply in many pieces is read once, not again
    with each piece.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._needed = 0
        self._open: list[tuple[list[Reply], int]] = []
        """Lists under way, outermost first, each with the length it will have."""

    @property
    def idle(self) -> bool:
        """Whether no reply is under way."""
        return not self._buffer and not self._open

    def feed(self, data: bytes) -> list[Reply]:
        """Take ``data`` in; return the replies that are now whole. Raises ProtocolError."""
        self._buffer += data
        replies: list[Reply] = []
        if len(self._buffer) < self._needed:
            return replies
        while (value := self._value()) is not _INCOMPLETE:
            if self._open or isinstance(value, _ListOf):
                value = self._nest(value)
                if value is _INCOMPLETE:
                    continue
            replies.append(value)
        del self._buffer[: self._position]
        self._needed -= self._position
        self._position = 0
        return replies

    def _value(self) -> Reply:
        """Read one value; of a list its length alone."""
        end = self._buffer.find(_END, self._position)
        if end < 0:
            if len(self._buffer) - self._position > _MOST_LINE_BYTES:
                raise ProtocolError("a line without end")
            return _INCOMPLETE
        kind = self._buffer[self._position : self._position + 1]
        line = bytes(self._buffer[self._position + 1 : end])
        after = end + len(_END)
        if kind == b"$":
            return self._bulk(_number(line), after)
        self._position = after
        if kind == b":":
            return _number(line)
        if kind == b"+":
            return line
        if kind == b"-":
            return ReplyError(line.decode(errors="replace"))
        if kind == b"*":
            length = _number(line)
            return None if length < 0 else _ListOf(length)
        raise ProtocolError(f"a reply cannot start with {bytes(kind)!r}")

    def _bulk(self, length: int, start: int) -> Reply:
        if length < 0:
            self._position = start
            return None
        self._needed = start + length + len(_END)
        if len(self._buffer) < self._needed:
            return _INCOMPLETE
        self._position = self._needed
        return bytes(self._buffer[start : start + length])

    def _nest(self, value: Reply) -> Reply:
        """Put ``value`` into the list under way; return the outermost list once it is whole."""
        if isinstance(value, _ListOf):
            self._open.append(([], value.length))
        else:
            self._open[-1][0].append(value)
        while self._open and len(self._open[-1][0]) == self._open[-1][1]:
            done, _ = self._open.pop()
            if not self._open:
                return done
            self._open[-1][0].append(done)
        return _INCOMPLETE


class _ListOf:
    """The head of a list: ``length`` values follow."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


_INCOMPLETE: Final = object()


def _number(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise ProtocolError(f"{line[:40]!r} is not a number") from None
