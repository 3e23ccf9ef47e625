"""What stewards work with, made from the deployment: what they see of identities, and where their orders
go."""

from flows.logic.fields.identifiers import Identifiers
from flows.runtime import deployment
from flows.services.steward.desk import Steward
from flows.services.steward.orders import OrderDesk
from flows.services.steward.people import People
from schemas.config import Config


def steward(config: Config) -> Steward:
    """Return what stewards see of identities."""
    ours, store, data = deployment.directory(config), deployment.shards(config), deployment.data_keys(config)
    people = People(
        [namespace.name for namespace in config.identity.namespace],
        Identifiers(config.identity, deployment.keys(config).hash, config.entry),
        ours,
        deployment.ledger(config),
        lambda roots: deployment.opened(store, data, config.shards.count, roots, ()),
    )
    return Steward(people, deployment.outbox(config), config.shards.count, deployment.profile_reader(config))


def order_desk(config: Config) -> OrderDesk:
    """Return where orders about identities are read, judged and given."""
    hashes = Identifiers(config.identity, deployment.keys(config).hash, config.entry)
    policy = deployment.layout(config).policy
    return OrderDesk(config.identity, policy, hashes, deployment.directory(config), deployment.ledger(config))
