"""What arrived of what was sent, read from the state."""

from flows.lab.prove.personal_values import Person
from flows.lab.prove.scratch import Scratch


def sealed(scratch: Scratch, people: list[Person]) -> int:
    """Return how many of their values lie sealed in the state, and can be opened with their keys: what is not
    there at all cannot lie open either."""
    scratch.settle()
    deployment = scratch.deployment
    hashes = [deployment.identifiers.hash("user_id", person["user_id"]) for person in people]
    roots = deployment.directory.lookup([found for found in hashes if found is not None])
    opened = deployment.contacts.opened([root for root in roots if root is not None], ())
    said = " ".join(text for stated in opened.values() for _, _, text in stated)
    values = [value for person in people for value in person.values.values()]
    return sum(any(spelling in said for spelling in value.spellings) for value in values)


def dead(scratch: Scratch, reason: str) -> int:
    return sum(dead.letter.reason == reason for dead in scratch.deployment.dead_events.newest())
