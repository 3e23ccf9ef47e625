"""Next best action: a contextual bandit that learns from the log of its own choices.

    settings    what may be chosen: policies, their parameters, actions
    scale       running mean and deviation of each feature of the context
    posterior   Gaussian beliefs on linear weights: one update for each reward, exact refreshes now and then
    forecast    what the beliefs say of each action in one context: mean, deviation, joint samples
    choose      from forecast, value and cost to the probability of every action, and the draw
    learner     the only one who learns: examples in, snapshots out
    snapshot    the learner at one moment, compact: what a shard decides with
    allowances  budget and capacity of each action in its period
    rewards     open decisions until their attribution window closes: late, partial and repeated rewards
    intervals   confidence intervals of skewed numbers
    offpolicy   what another policy would have earned, from the log (IPS, SNIPS, DR), and whether that can be
                told
    shadow      the policies in the shadow of the one that decides

A decision is a function of (snapshot, context, actions, draw): no clock, no chance, no state.
"""
