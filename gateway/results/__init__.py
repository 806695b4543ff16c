"""Pictures that the gateway keeps itself, and the signed URLs that lead to them."""
