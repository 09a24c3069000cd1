"""The measures, one file a task."""
