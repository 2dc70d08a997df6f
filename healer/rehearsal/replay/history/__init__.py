"""The history that Prometheus has, as the lines of a record: alerts by ALERTS, objects by the series of kube-state-metrics."""
