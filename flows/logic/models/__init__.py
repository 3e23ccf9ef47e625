"""The models: what they look at, how they learn, how they score.

"Model" is what a configuration names: five binary ones (`churn`, `purchase`, `deal`, `complaint`, `fraud`),
`best_action`, `recommendation` and `clusters`. Each has a trainer, which learns from examples, and a snapshot
of numbers, which the shards score with. The snapshots that `learn` has announced lie in `state.model_store`;
which of them a shard scores with is said by `flows.logic.shard.scoring`.

What models look at, and which there are:

    features             what all of them look at: one table, one function
    binary               the table of the binary models: question, purpose, features
    churn, best_action   name and features of these two

Trainers, of which `learn` runs one for each model:

    trainer                 what every trainer is
    trainers                those of a configuration
    binary_trainer          of a binary model: champion and challengers on one stream of examples
    binary_checkpoint       that trainer as it lies in a checkpoint
    best_action_trainer     of the bandit (`flows.logic.bandit`), with all policies in its shadow
    recommendation_trainer  of recommendations: two learners side by side
    cluster_trainer         of clusters
    example_merge           the one order in which examples of all shards are learnt

What learns inside a trainer:

    binary_learner  what a binary trainer asks of a learner
    newton          the champion: logistic regression by recursive Newton steps
    adagrad         its challenger: River's
    anomaly         how unusual something is, for what has no answers yet
    order_value     what a purchase brings
    recommend       item-to-item counts
    challenger      their challenger: River's matrix factorisation
    clusters        groups of customers under names that stay

How its work is judged:

    calibration  online correction of probabilities
    duel         when a challenger takes over
    drift        alarms when the error or a feature changes
    progress     how good the predictions were, over a bounded window

Snapshots and those that score with them: plain numbers, no River, for the hot path:

    announced             what all snapshots have
    linear                of a binary model, and its scorer
    scorer_set            several of these scorers as one array expression
    recommendation_index  what to recommend items with
    cluster_assigner      which cluster a customer is in

Import the module you need: River is loaded by trainers only, so that those who just score do without it.
"""
