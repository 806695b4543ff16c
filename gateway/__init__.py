"""wan-gateway: an OpenAI-compatible gateway for image edits over DashScope."""

__version__ = "0.1.0"
