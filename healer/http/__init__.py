"""The HTTP face of the daemon: webhooks, probes, metrics."""
