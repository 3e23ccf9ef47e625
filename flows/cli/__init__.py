"""The command line: parsing and printing only. What a command asks stands in `flows.services`.

main         all commands together, and how they end
*_commands   options and arguments; every worker imports these, so they import nothing heavy
*_screen     what a command asks, and how the answer is printed
"""
