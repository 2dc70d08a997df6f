"""Prometheus: questions to it, and the rules that ask them."""

from healer.sources.prometheus.client import Prometheus, QueryFailed

__all__ = ["Prometheus", "QueryFailed"]
