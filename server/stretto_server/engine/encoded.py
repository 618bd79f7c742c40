"""A message for many connections: each of its forms is made once."""

from stretto_core.eio.packets import Packet, PacketType
from stretto_core.eio.websocket import Opcode, deflated_frame, encode_frame


class Encoded:
    """One packet as text and attachments, or as bytes alone; never changed.

    ``text`` is the payload of its text frame, Engine.IO's ``4`` included; None where there
    is only binary. :attr:`frames` is what every WebSocket gets, ``packets`` what a
    polling session does.
    """

    __slots__ = ("_deflated", "_packets", "attachments", "frames", "text")

    def __init__(self, text: bytes | None, attachments: tuple[bytes, ...] = ()) -> None:
        self.text = text
        self.attachments = attachments
        frames = b"" if text is None else encode_frame(Opcode.TEXT, text)
        for attachment in attachments:
            frames += encode_frame(Opcode.BINARY, attachment)
        self.frames = frames
        self._deflated: bytes | None = None
        self._packets: tuple[Packet, ...] | None = None

    @classmethod
    def of_messages(cls, *messages: str | bytes) -> "Encoded":
        """Return the messages of one packet: at most one text, and that first.

        Raises UnicodeEncodeError for a lone surrogate.
        """
        first, rest = messages[0], messages[1:]
        attachments = tuple(part for part in rest if isinstance(part, bytes))
        if isinstance(first, bytes):
            return cls(None, (first, *attachments))
        return cls(b"4" + first.encode(), attachments)

    @property
    def size(self) -> int:
        """The bytes of the frames."""
        return len(self.frames)

    @property
    def packets(self) -> tuple[Packet, ...]:
        """The Engine.IO packets."""
        if self._packets is None:
            packets = [Packet(PacketType.MESSAGE, each) for each in self.attachments]
            if self.text is not None:
                packets.insert(0, Packet(PacketType.MESSAGE, self.text[1:].decode()))
            self._packets = tuple(packets)
        return self._packets

    def deflated(self, threshold: int) -> bytes:
        """Return the frames for those who negotiated compression; short ones as they are."""
        if self._deflated is None:
            parts: list[str | bytes] = list(self.attachments)
            if self.text is not None:
                parts.insert(0, self.text.decode())
            self._deflated = b"".join([frame_for(part, threshold) for part in parts])
        return self._deflated


def frame_for(message: str | bytes, threshold: int | None) -> bytes:
    """Return one frame, compressed if it has ``threshold`` bytes; None for never."""
    data = message.encode() if isinstance(message, str) else message
    if threshold is not None and len(data) >= threshold:
        return deflated_frame(message)
    return encode_frame(Opcode.TEXT if isinstance(message, str) else Opcode.BINARY, data)
