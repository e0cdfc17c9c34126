"""Ask the program on the host what it would do with a client that is not there."""
