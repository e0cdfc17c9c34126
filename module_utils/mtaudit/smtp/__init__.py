"""Speak SMTP as a prober: dialogue, battery of envelopes, verdict."""
