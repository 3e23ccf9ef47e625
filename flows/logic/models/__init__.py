"""The models: what they look at, how they learn, how they score.

    features     what all models look at: one table, one function
    binary       the table of the binary models
    trainer      champion and challengers on one stream of examples: checkpoints, snapshots
    newton       the champion: logistic regression by recursive Newton steps
    adagrad      the challenger: River's
    calibration  online correction of probabilities
    duel         when a challenger takes over
    drift        alarms when the error or a feature changes
    progress     how good the predictions were, over a bounded window
    linear       the snapshot of an additive model and its scorers: plain numbers, no River, for the hot path
    merge        the one order in which examples of all shards are learnt

Import the module you need: River is loaded by trainers only, so that those who just score do without it.
"""
