"""The comparison harness and the command line."""
