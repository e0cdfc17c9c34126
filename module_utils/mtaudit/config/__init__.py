"""Wanted settings in; candidate files, and what the program itself says of them, out."""
