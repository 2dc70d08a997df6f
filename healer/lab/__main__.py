"""`python -m healer.lab`: run a lab until SIGTERM or SIGINT. Prints its URL, and the path of its kubeconfig if any, as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from healer.lab.lab import Lab


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m healer.lab", description="Serve an in-memory Kubernetes API.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--token", help="bearer token that clients must send; none by default")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--start-delay", type=float, default=0.05, help="seconds from binding a pod to a node until it runs")
    parser.add_argument("--termination-delay", type=float, default=0.05, help="seconds until a deleted pod is removed")
    parser.add_argument("--time-scale", type=float, default=1.0, help="factor on Kubernetes' own times")
    parser.add_argument("--apply", type=Path, action="append", default=[], help="YAML file of objects to create at the start")
    parser.add_argument("--kubeconfig", type=Path, help="kubeconfig file to write; its current context is the lab")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    manifests = [path.read_text(encoding="utf-8") for path in arguments.apply]
    lab = Lab(
        port=arguments.port,
        token=arguments.token,
        nodes=arguments.nodes,
        start_delay=arguments.start_delay,
        termination_delay=arguments.termination_delay,
        time_scale=arguments.time_scale,
    )
    async with lab:
        for text in manifests:
            await lab.apply_yaml(text)
        ready = {"url": lab.url}
        if arguments.kubeconfig is not None:
            lab.write_kubeconfig(arguments.kubeconfig)
            ready["kubeconfig"] = str(arguments.kubeconfig)
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
