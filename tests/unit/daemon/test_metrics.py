"""What the metrics say: no label is a sender's to choose."""

from healer.daemon.metrics import Metrics
from healer.engine.engine import Engine
from healer.model.signal import Signal, SourceName
from healer.model.target import Target
from tests.support.world import ACTIONS, rule, rulebook


def test_alerts_that_no_rule_is_about_are_one_series() -> None:
    """Their names are a sender's: personal data, secrets, one series each."""
    engine = Engine(rulebook(rule(when={"alert": ["HighLatency"]})), ACTIONS)
    metrics = Metrics()

    def count(source: SourceName, name: str) -> None:
        signal = Signal(source, name, Target("Pod", "production", "a", "u"), True, 0.0, "key")
        metrics.signal(signal, engine.looks_for(signal))

    count("alert", "HighLatency")
    for number in range(300):
        count("alert", f"ann{number}@example.com")
    count("pod", "CrashLoopBackOff")
    found = {
        (sample.labels["source"], sample.labels["name"]): sample.value
        for family in metrics.registry.collect()
        if family.name == "healer_signals"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert found == {("alert", "HighLatency"): 1, ("alert", "other"): 300, ("pod", "CrashLoopBackOff"): 1}
