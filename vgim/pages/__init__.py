"""Parts that the HTML pages of runs and sweeps share: chart geometry, palette and style, template settings."""
