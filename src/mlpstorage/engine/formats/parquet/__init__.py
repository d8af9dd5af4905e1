"""Parquet: tables of payload, written and read by row group without a Parquet library."""
