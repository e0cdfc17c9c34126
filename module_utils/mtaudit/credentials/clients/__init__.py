"""One login at one service: a client for each protocol, bounded in time and bytes, that goes away once it knows."""
