"""How failing controls are mended, one short function for each control and program: a reading in, what is wanted out."""
