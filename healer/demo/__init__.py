"""The demo: the lab, the real daemon connected to it over HTTP, and a timeline of the events."""

from healer.demo.show import show

__all__ = ["show"]
