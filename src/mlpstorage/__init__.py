"""How well does storage feed AI? A benchmark whose score is the storage's, not the client's."""

__version__ = "0.1.0"
