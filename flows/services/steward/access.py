"""What stewards work with, made from the deployment: what they see of identities, and where their orders
go."""

from flows.runtime.deployment import Deployment
from flows.services.steward.desk import Steward
from flows.services.steward.named_customers import People
from flows.services.steward.orders import OrderDesk


def steward(deployment: Deployment) -> Steward:
    """Return what stewards see of identities."""
    config = deployment.config
    contacts = deployment.contacts
    people = People(
        [namespace.name for namespace in config.identity.namespace],
        deployment.identifiers,
        deployment.directory,
        deployment.ledger,
        lambda roots: contacts.opened(roots, ()),
    )
    return Steward(people, deployment.outbox, config.shards.count, deployment.profile_reader)


def order_desk(deployment: Deployment) -> OrderDesk:
    """Return where orders about identities are read, judged and given."""
    return OrderDesk(
        deployment.config.identity,
        deployment.layout.policy,
        deployment.identifiers,
        deployment.directory,
        deployment.ledger,
    )
