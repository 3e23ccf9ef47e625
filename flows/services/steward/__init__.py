"""What stewards see and do, shared by the commands and by HTTP. Nothing here prints.

people    who is meant by `email:ana@example.org`, and which plain values are known
words     evidence in words, English and Chinese
desk      a customer's identity, its history, the queue of pairs
orders    an order is judged, put into the raw log, and waited for
undoing   many unions at once
commands  the command line
"""
