"""Which rules a signal matches."""
