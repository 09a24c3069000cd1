"""Raw videos to checked, sharded ArrayRecords."""
