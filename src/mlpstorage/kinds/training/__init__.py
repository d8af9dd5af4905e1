"""Training data loading: emulated accelerators that consume batches read from real storage."""
