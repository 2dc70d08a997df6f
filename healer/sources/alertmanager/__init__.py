"""Alertmanager: its webhook, and its API."""
