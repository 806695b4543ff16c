"""Nouns and errors; imports only itself."""
