"""Results to HTML, figures and tables."""
