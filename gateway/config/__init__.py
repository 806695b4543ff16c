"""What a TOML config file means."""
