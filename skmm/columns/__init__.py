"""Columns of a table: which ones are meant, and what their cells hold."""
