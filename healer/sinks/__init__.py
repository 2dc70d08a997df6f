"""Where people are told of incidents; redaction stands in front of every sink."""
