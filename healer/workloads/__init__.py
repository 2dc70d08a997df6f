"""One file a kind of workload: from a decoded object to a `Workload`, and what can be done to it."""
