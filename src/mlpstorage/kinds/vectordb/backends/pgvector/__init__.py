"""pgvector: PostgreSQL's indexes of vectors, from a server of our own or one that is running."""
