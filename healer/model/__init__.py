"""Value objects that every layer speaks in; imports nothing of ours."""
