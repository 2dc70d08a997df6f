"""A storm holds back what takes pods; a rule on the workload itself, whose rollout may be its cause, goes on."""

from healer.model.signal import Signal
from tests.support.world import Drill, World, rule, rulebook

BACK = [{"rollback": {}, "verify": {"within": "5m", "stable": "1m"}}]


def test_a_stuck_rollout_is_rolled_back_while_its_pods_crash() -> None:
    """The rule on pods has taken over the workload, and takes none of them: it waits for the storm to pass."""
    pods = rule(when={"pod": ["CrashLoopBackOff"], "for": "30s"})
    d = Drill(rulebook(pods, rule("stuck", when={"workload": ["ProgressDeadlineExceeded"]}, heal=BACK)), World(4))
    for name in ("serving-1", "serving-2", "serving-3"):
        d.world.crash(name)
    d.wait(60)
    assert not d.acts
    target = d.world.workload
    d.feed(Signal("workload", "ProgressDeadlineExceeded", target, True, d.now, "stuck", "stuck/1", "timed out"))
    assert [(act.action, act.target) for act in d.acts] == [("rollback", target)]
