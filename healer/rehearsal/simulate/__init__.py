"""`healer simulate`: a whole fault scenario in virtual time, with healer, without it, and with simpler policies in its place."""
