"""Pure functions on arrays: no files, no programs, no clock. Random numbers come in as a seed."""
