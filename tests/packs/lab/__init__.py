"""Each shipped rule with the real daemon against the lab: it heals its trouble, and leaves alone what only looks like it."""
