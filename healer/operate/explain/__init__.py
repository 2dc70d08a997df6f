"""`healer explain`: what is known of an object, what it comes to, and how it is shown."""
