"""What the demo and chaos look for of who was erased: all of it is found before, and what is left after."""

from pathlib import Path

import msgspec
import pytest

from flows.lab.remains import receipt_fault, remains
from schemas.records.identity_graph import shard_of
from schemas.records.privacy_requests import PrivacyRequest
from tests.subjects import Erased, ana, identify, viewed

NAMED = [("user_id", "ana"), ("anonymous", "ana-phone"), ("email", "ana@example.org")]


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Erased:
    made = Erased(tmp_path, redis_url, archive=False)
    made.start()
    assert isinstance(made, Erased)
    made.say(identify("ana", "ana@example.org", anonymousId="ana-phone"), viewed(**ana()))
    made.tick()
    made.settle()
    return made


def about(site: Erased) -> PrivacyRequest:
    """A request as if the erasure of the customer had been done, which it was not."""
    root = site.deployment.directory.lookup([site.deployment.identifiers.hash(*NAMED[0]) or b""])[0]
    assert root is not None
    origins, identifiers = site.deployment.ledger.members(root)
    users = [one.hash for one in identifiers if one.strength == 0]
    return PrivacyRequest("erase-x", "erase", root, "gdpr", 0, 0, "test", origins=origins, users=users)


def test_all_that_there_is_of_a_customer_is_found(site: Erased) -> None:
    left = " | ".join(remains(site.deployment, about(site), NAMED))
    for what in (
        "not marked as erased",
        "somebody in the directory",
        "(user_id) still leads",
        "(anonymous) still leads",
        "(email) still leads",
        "has a profile",
        "has a sealed record",
        "has a timer or a sealed record",
        "in lane t",
        "data key",
    ):
        assert what in left, what


def test_nothing_is_left_after_an_erasure_and_what_is_planted_is_found(site: Erased) -> None:
    request = site.erase("user_id:ana")
    assert remains(site.deployment, request, NAMED) == []
    assert receipt_fault(site.deployment, request) == ""
    [origin] = request.origins
    shard = shard_of(origin, site.config.shards.count)
    site.client.set(site.deployment.names.shard(shard) + b"p:" + origin, b"x")
    assert remains(site.deployment, request, NAMED)


def test_a_receipt_about_somebody_else_is_a_fault(site: Erased) -> None:
    site.say(identify("bea", "bea@example.org"))
    site.tick()
    site.settle()
    ana_s, bea_s = site.erase("user_id:ana"), site.erase("user_id:bea")
    assert receipt_fault(site.deployment, ana_s) == receipt_fault(site.deployment, bea_s) == ""
    site.deployment.privacy_requests.save(ana_s, _with_receipt(ana_s, bea_s))
    assert "is about" in receipt_fault(site.deployment, ana_s)


def _with_receipt(request: PrivacyRequest, other: PrivacyRequest) -> PrivacyRequest:
    return msgspec.structs.replace(request, receipt=other.receipt)
