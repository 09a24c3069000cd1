"""Trackers that follow a box."""
