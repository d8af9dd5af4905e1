"""Nouns and arithmetic: standard library only, no I/O, no clock."""
