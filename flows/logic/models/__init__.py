"""The models: what they look at, how they learn, how they score.

    churn     the features of the churn model, named in one place
    linear    the snapshot of a linear model and its scorer: plain numbers, no River, for the hot path
    merge     the one order in which examples of all shards are learnt
    progress  how good the predictions were, over a bounded window
    trainer   the River pipelines, and the table of all models

Import the module you need: River is loaded by `trainer` only, so that those who just score do without it.
"""
