"""The verbs of the command line, one file each; gateway.cli brings only the one asked for."""
