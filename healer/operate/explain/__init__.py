"""`healer explain`: reads the facts about an object, derives a verdict, and prints both."""
