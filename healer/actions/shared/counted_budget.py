"""A PodDisruptionBudget with what its controller has counted, and what the Eviction API would answer by it.

Source: policy/v1, and pkg/registry/core/pod/storage/eviction.go.
"""

from healer.model.kube import KubeObject, KubeStruct, LabelSelector, Pod

_ALWAYS = "AlwaysAllow"


class _CountedBudgetSpec(KubeStruct, frozen=True):
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str = ""


class _BudgetStatus(KubeStruct, frozen=True):
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    observed_generation: int = 0


class CountedBudget(KubeObject, frozen=True, kw_only=True):
    """A PodDisruptionBudget. In policy/v1 a null selector selects no pod."""

    spec: _CountedBudgetSpec = _CountedBudgetSpec()
    status: _BudgetStatus = _BudgetStatus()

    @property
    def lets_unready_go(self) -> bool:
        """Whether a pod that is not ready may go whatever the budget counts."""
        return self.spec.unhealthy_pod_eviction_policy == _ALWAYS

    def allows(self, pod: Pod) -> bool:
        """Whether the Eviction API would let the pod go now."""
        counts = self.status
        if not pod.ready and self.lets_unready_go:
            return True
        if counts.observed_generation < self.metadata.generation:
            return False
        return counts.disruptions_allowed > 0 or (not pod.ready and counts.current_healthy >= counts.desired_healthy > 0)
