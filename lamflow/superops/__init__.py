"""Wiring only: the arrows between OPs."""
