"""The door in: OpenAI's HTTP, served by Starlette."""
