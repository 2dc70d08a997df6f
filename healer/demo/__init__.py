"""The demo: the lab, the real daemon connected to it over HTTP, a timeline of the events; and a lab for people to practise on."""

from healer.demo.show import show

__all__ = ["show"]
