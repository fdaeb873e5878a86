"""Decisions: settings and arrays in, choices out. No files, no programs, no clock; random numbers come in as a seed."""
