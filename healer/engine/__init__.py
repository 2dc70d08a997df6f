"""The decisions: pure functions and the state machine over them. No I/O, no clock, no asyncio."""
