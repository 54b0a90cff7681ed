"""Encoders inside the package, which `ulna.load("ulna/NAME")` opens; models.toml says what they are."""
