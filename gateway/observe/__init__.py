"""Every number and every log line."""
