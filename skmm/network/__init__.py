"""Encoders, fusion and head as one network, and its members."""
