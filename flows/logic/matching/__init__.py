"""Matching without a shared key: which customer does a record belong to? (Fellegi and Sunter's linkage,
online.)

fields     what is compared, levels of each kind    record     what a row or event says, in normal forms
normalise  one normal form for each kind            levels     how alike two values are
words      short forms, legal forms, what says nothing
han        Chinese names and characters             nicknames  short forms in English
blocking   keys by which candidates are found       index      the bounded index of these keys
cluster    all that one customer's records say      frequency  how common a value is, without the value
weights    m and u by field, with a version         score      the bits of evidence for a record and a cluster
learn      weights from the stream and stewards     decide     merge, review or none
contradict what no evidence outweighs               namesakes  when a name and a city are not enough
branches   places of one organisation               stream     one pass in memory
explain    the verdict in words                     guess      what the columns of a table mean
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
