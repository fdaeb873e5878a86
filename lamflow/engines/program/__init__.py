"""Codes that run as a program for each label: their settings, how they run, and which output belongs to an input."""
