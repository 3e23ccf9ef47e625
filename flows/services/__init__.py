"""What one asks of a deployment: plain data in and out. Nothing here prints."""
