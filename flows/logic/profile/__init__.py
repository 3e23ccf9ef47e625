"""What a profile is made of: figures and fragments that add up."""
