"""All customer concerns, in the order in which they are asked. A new one is a line here.

For each verb there is the tuple of what the facets that have it do, so that nobody pays for the others.
"""

from typing import Any, Final

from flows.logic.facets.cluster_membership import ClusterMembership
from flows.logic.facets.customer_attributes import CustomerAttributes
from flows.logic.facets.decisions import Decisions
from flows.logic.facets.facet import Facet
from flows.logic.facets.item_interactions import ItemInteractions
from flows.logic.facets.lifecycle import LifecycleStage
from flows.logic.facets.outcomes import Outcomes
from flows.logic.facets.questions import Questions
from flows.logic.facets.refusals import Refusals
from flows.logic.facets.scores import Scores
from flows.logic.facets.segments import Segments
from flows.logic.facets.streaks import Streaks
from flows.logic.facets.tags import Tags
from flows.logic.facets.waits import Waits

# What is derived may look at what was derived before it: tags at scores, segments at tags.
FACETS: Final[tuple[Facet, ...]] = (
    LifecycleStage(),
    Scores(),
    ClusterMembership(),
    Tags(),
    Segments(),
    Decisions(),
    Waits(),
    Questions(),
    Outcomes(),
    ItemInteractions(),
    Streaks(),
    Refusals(),
    CustomerAttributes(),
)


def having(verb: str) -> tuple[Any, ...]:
    """Return what the facets do that have this verb of `Facet`, in order."""
    default = getattr(Facet, verb)
    return tuple(getattr(facet, verb) for facet in FACETS if getattr(type(facet), verb) is not default)


BEFORE_EVENT: Final = having("before_event")
BEFORE_TIMER: Final = having("before_timer")
DERIVE: Final = having("derive")
AFTER_EVENT: Final = having("after_event")
AFTER_TIMER: Final = having("after_timer")
DUES: Final = having("dues")
UNITE: Final = having("unite")
DIVIDE: Final = having("divide")
COUNT: Final = having("count")
SHOW: Final = having("show")
