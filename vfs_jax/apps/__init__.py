"""One file a command: flags, then one call."""
