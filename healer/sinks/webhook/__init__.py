"""Webhooks: an incident as JSON for programs, or by a template for chats."""
