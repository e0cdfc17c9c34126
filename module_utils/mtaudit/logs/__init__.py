"""Read what mail servers logged."""
