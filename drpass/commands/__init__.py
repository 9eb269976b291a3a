"""One file a command; see drpass/cli.py."""
