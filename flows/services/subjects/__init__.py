"""What customers may ask of their own data, and what becomes of it.

requests    asked for, looked up, listed
clocks      when each is due
erasing     the workflow of an erasure, step by step
sweeping    what of a customer lies in queues and among dead letters
telling     receivers are asked to delete, too
receipts    what is signed in the end
consenting  what a customer allows, and a new word of it
objecting   objections and restrictions: refused at once
draining    what came in before comes first
mandates    what other systems ask about many, taken on step by step
regulations Segment's dialect of it
over_http   all this, as the gateway asks for it
exporting   everything that is held of one customer
returning   a past that comes back (restore, switch) is erased again
"""
