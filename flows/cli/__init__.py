"""The command line: parsing and printing only. What a command asks stands in `flows.services`."""
