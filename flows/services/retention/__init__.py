"""How long things are kept, and what ends them.

silence   when a customer was last heard of
sweep     what is too old is found and ended, in small steps, by the process `privacy`
progress  whether the sweep comes along
upkeep    the same for all but customers: decisions, dead letters, pairs for stewards, closed requests
holds     customers whom it must leave alone
classes   everything that a deployment keeps, and what ends each
"""
