"""What follows from what customers have said: which data may be kept, and what they may be contacted for.

statements    what one event states, and the record of one origin
permissions   what the customer's words allow
categories    to which category of data a field or an event belongs
withholding   an event without what the customer does not allow
"""
