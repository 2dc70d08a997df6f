"""Where incidents are kept, so that an intent is written before the act."""
