"""The stand-in model server speaks as TensorFlow Serving does."""

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.model_server import EDGES, METRICS, MODEL, ModelServer


async def test_it_speaks_as_tensorflow_serving_does() -> None:
    server = ModelServer()
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://{server.address}") as session:
            async with session.get(f"/v1/models/{MODEL}") as answer:
                assert (await answer.json())["model_version_status"][0]["state"] == "AVAILABLE"
            server.take(30)
            server.slow = True
            server.take(3)
            async with session.get(METRICS) as answer:
                samples = [s for family in text_string_to_metric_families(await answer.text()) for s in family.samples]
    finally:
        await server.stop()
    (count,) = [s for s in samples if s.name.startswith(":tensorflow:serving:request_count")]  # the parser adds _total to it
    assert count.labels == {"model_name": MODEL, "status": "OK"}
    buckets = {s.labels["le"]: s.value for s in samples if s.name == ":tensorflow:serving:request_latency_bucket"}
    assert list(buckets)[:4] == ["10", "18", "32.4", "58.32"], "microseconds, 10 * 1.8^k"
    assert len(buckets) == len(EDGES) + 1
    assert buckets["+Inf"] == count.value
    assert buckets["10"] == 0
    slow = count.value - max(value for edge, value in buckets.items() if edge != "+Inf" and float(edge) < 200_000)
    assert slow >= 3
