"""The real daemon, over real HTTP, as its users run it."""
