"""The privacy centre, asked of a deployment.

links       who may come in: links, and the sessions that they begin
choices     what a customer allows, and a new word of it
holdings    what is held, and why
desk        all of it together, as the pages ask for it
"""
