"""mtaudit: find out whether a mail server can be used to send spam, and prove it."""

__version__ = "0.1.0"
