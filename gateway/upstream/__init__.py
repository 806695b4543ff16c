"""The door out: DashScope's HTTP, carried by httpx."""
