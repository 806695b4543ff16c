"""Pictures: checked, fitted and re-encoded off the event loop."""
