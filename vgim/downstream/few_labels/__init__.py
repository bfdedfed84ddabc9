"""The study of few labels: accuracy against labels per class."""
