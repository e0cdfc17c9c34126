"""Turn the results of one run into reports."""
