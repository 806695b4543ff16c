"""Calls to DashScope over HTTP."""
