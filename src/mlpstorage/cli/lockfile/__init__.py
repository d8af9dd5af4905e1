"""`mlpstorage lockfile`: pin an environment, and compare others with it."""
