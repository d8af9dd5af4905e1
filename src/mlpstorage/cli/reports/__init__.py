"""`mlpstorage reports`: what results say, whether they are valid, and how they are submitted."""
