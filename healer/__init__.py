"""healer keeps model-serving workloads in Kubernetes healthy."""
