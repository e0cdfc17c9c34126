"""Every control, by area. AnsiballZ ships only what is imported: each area is imported here."""
