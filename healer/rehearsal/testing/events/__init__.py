"""What can happen in a test of rules: one model for each key of an event, and how it is played."""
