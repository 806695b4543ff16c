"""What was asked, submitted and delivered."""
