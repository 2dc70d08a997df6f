"""Slack: one thread an incident."""
