"""What healer can do to the cluster: one file an action, the only writers to workloads."""
