"""`mlpstorage completion`: what a shell needs to complete our commands and flags."""
