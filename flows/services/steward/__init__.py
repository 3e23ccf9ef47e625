"""What stewards see and do, shared by the commands and by HTTP.

access            what stewards work with, made from the deployment
named_customers   who is meant by `email:ana@example.org`, and which plain values are known
evidence_words    evidence in words, English and Chinese
desk              a customer's identity, its history, the queue of pairs
orders            an order is judged, put into the raw log, and waited for
giving_orders     a steward's word as an order
undoing           many unions at once
unmerging         which ones, and all that hangs on them
"""
