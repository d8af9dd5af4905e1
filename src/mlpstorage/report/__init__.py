"""Sections and verdicts, rendered."""
