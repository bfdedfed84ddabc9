"""What a run's figures say in plain sentences, and the command to run next. Imports no torch."""
