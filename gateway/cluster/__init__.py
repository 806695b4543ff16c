"""Several nodes behind one address: which node owns what, and how requests reach it."""
