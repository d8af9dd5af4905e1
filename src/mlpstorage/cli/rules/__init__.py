"""`mlpstorage rules`: what the rules are, and what each of them asks."""
