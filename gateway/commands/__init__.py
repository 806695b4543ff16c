"""The commands of wan-gateway, one module each; gateway.cli imports only the one that runs."""
