"""Polling: when to ask an account for its running tasks, within its rate limit."""
