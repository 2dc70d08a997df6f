"""The official client's watch, for comparison: `python -m tests.benchmarks.official KUBECONFIG`.

Turns each event into its models, as its documentation shows, and tells the API server when the last one came.
"""

import asyncio
import sys

import aiohttp
from kubernetes.aio import client, config, watch


async def main(kubeconfig: str) -> None:
    """Watch pods until one of the namespace `bench` has failed."""
    await config.load_kube_config(kubeconfig)  # type: ignore[no-untyped-call]  # it says that it is typed, and is not
    async with client.ApiClient() as api:
        pods = client.CoreV1Api(api)
        stream = watch.Watch().stream(pods.list_pod_for_all_namespaces, resource_version="1")  # type: ignore[no-untyped-call]
        async for event in stream:
            pod = event["object"]
            if pod.metadata.namespace == "bench" and pod.status.phase == "Failed":
                break
        async with aiohttp.ClientSession() as session, session.get(f"{api.configuration.host}/bench/done") as answer:
            answer.raise_for_status()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
