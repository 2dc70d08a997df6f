"""Serves pods to whoever lists and watches them, as fast as a socket takes them: all answers are made beforehand.

Run as `python -m tests.benchmarks.watch_server PODS ROUNDS CPU`; prints its port. A list gives PODS pods, in pages; a watch
gives each pod ROUNDS times as MODIFIED, one HTTP chunk an event as the API server sends them, and then nothing more.
"""

import asyncio
import os
import sys
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.benchmarks.watch_pods import pod

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def chunks(pods: int, rounds: int) -> list[bytes]:
    """The events, framed as HTTP chunks, joined to pieces of about 250 kB."""
    pieces: list[bytes] = []
    for turn in range(rounds):
        for start in range(0, pods, 40):
            piece = bytearray()
            for number in range(start, min(start + 40, pods)):
                event = {"type": "MODIFIED", "object": pod(number, 1_000_000 + turn * pods + number, turn)}
                line = msgspec.json.encode(event) + b"\n"
                piece += b"%x\r\n%b\r\n" % (len(line), line)
            pieces.append(bytes(piece))
    return pieces


async def serve(pods: int, rounds: int) -> None:
    """Until killed."""
    items = [msgspec.json.encode(pod(number, number + 1)) for number in range(pods)]
    stream = chunks(pods, rounds)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(b"\r\n\r\n"):
            query = parse_qs(urlsplit(request.split(b" ", 2)[1].decode()).query)
            if "watch" in query:
                writer.write(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
                for piece in stream:
                    writer.write(piece)
                    await writer.drain()
                continue
            start, limit = int(query.get("continue", ["0"])[0]), int(query.get("limit", [str(pods)])[0])
            more = b"" if start + limit >= pods else b',"continue":"%d"' % (start + limit)
            body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"999999"%b},"items":[%b]}' % (
                more,
                b",".join(items[start : start + limit]),
            )
            writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(until_closed, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
