"""Evaluation of correspondence."""
