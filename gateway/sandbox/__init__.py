"""A simulated DashScope region: an ASGI app of its own."""
