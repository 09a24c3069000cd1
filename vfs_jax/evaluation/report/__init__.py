"""Pages, pictures and videos of results."""
