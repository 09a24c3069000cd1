"""Records, sampling and readers."""
