"""Our transparent probe of inverted lists: centroids in memory, each list one aligned extent."""
