"""Read what a program is really configured to do: one module per component."""
