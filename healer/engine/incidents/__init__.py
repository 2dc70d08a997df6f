"""The life of an incident: how it opens, climbs its ladder, is verified, and ends."""
