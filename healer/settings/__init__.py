"""What can be set: the sections, and how they are read."""
