"""The edge: OpenAI's HTTP API, served by Starlette."""
