"""The site of the documentation: pages, and what makes them from the code."""
