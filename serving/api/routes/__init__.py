"""The API's routes, one file for each part of what it shows."""
