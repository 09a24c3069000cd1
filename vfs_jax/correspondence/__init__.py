"""The correspondence operators."""
