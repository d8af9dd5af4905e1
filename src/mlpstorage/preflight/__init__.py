"""Everything that can be known to be wrong before a run, each with its fix."""
