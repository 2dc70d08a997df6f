"""Where people are told of incidents."""
