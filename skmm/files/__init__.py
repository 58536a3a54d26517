"""Files that somebody else made, or may write to."""
