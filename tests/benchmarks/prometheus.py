"""A Prometheus that costs next to nothing: `python -m tests.benchmarks.prometheus N`.

It answers every query with 20 series about pods of the first N workloads, and GET /asked with how many queries came. Says its
port in a line of JSON first.
"""

import asyncio
import json
import sys

from tests.benchmarks.objects import REPLICAS, Workload

SERIES = 20


async def main(workloads: int) -> None:
    """Serve until standard input ends."""
    answers = [_answer(first, workloads) for first in range(workloads)]
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET /asked "):
                    writer.write(_http(str(asked).encode()))
                    continue
                asked += 1
                writer.write(answers[asked % len(answers)])
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


def _answer(first: int, workloads: int) -> bytes:
    result = []
    for number in range(SERIES):
        workload = Workload(f"tfs-{(first + number) % workloads:05}")
        labels = {"namespace": workload.namespace, "pod": workload.pod(number % REPLICAS), "job": "tensorflow-serving"}
        result.append({"metric": labels, "value": [1_800_000_000.123, "0.0123456789"]})
    return _http(json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode())


def _http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
