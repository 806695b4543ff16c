"""Pure translation between wire formats and nouns."""
