"""Stored passwords: what their schemes are worth, and which of them is guessed."""
