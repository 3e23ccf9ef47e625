"""Matching without a shared key: which customer does a record belong to? (Fellegi and Sunter's linkage,
online.)

    record         what a row or an event says, in normal forms
    columns        what is compared, the kind of each field, the levels of each kind
    guess          what the columns of a table mean

    normalise      one normal form for each kind
    noise_words    short forms, legal forms, what says nothing
    han            Chinese names and characters
    nicknames      short forms in English
    levels         how alike two values are

    blocking       keys by which candidates are found
    index          the bounded index of these keys, in memory
    lists          the same as it lies in the directory
    cluster        all that one customer's records say
    frequency      how common a value is, without the value

    weights        m and u by field, with a version
    field_weights  the same, ready for the hot loop
    score          the bits of evidence for a record and a cluster
    estimation     weights from the stream and from stewards
    contradict     what no evidence outweighs
    namesakes      when a name and a city are not enough
    branches       places of one organisation
    verdict        merge, review or none
    explain        the verdict in words

    stage          the matching of a stream: what the flow `match` does at each step
    stream         one pass in memory, for evaluation and tests
"""

from flows.logic.matching.blocking import blocking_keys
from flows.logic.matching.cluster import Cluster
from flows.logic.matching.estimation import Learner
from flows.logic.matching.explain import explain
from flows.logic.matching.frequency import Frequencies
from flows.logic.matching.guess import guess_fields
from flows.logic.matching.index import Index, MemoryIndex
from flows.logic.matching.record import Record
from flows.logic.matching.score import Evidence, Scorer, count_values
from flows.logic.matching.verdict import Thresholds, Verdict, decide
from flows.logic.matching.weights import Shares, Weights

__all__ = [
    "Cluster",
    "Evidence",
    "Frequencies",
    "Index",
    "Learner",
    "MemoryIndex",
    "Record",
    "Scorer",
    "Shares",
    "Thresholds",
    "Verdict",
    "Weights",
    "blocking_keys",
    "count_values",
    "decide",
    "explain",
    "guess_fields",
]
