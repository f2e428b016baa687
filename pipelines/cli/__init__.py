"""The command line: one file for a command; each parses, calls one step and prints one summary."""
