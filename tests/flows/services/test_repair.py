"""A directory that came back older than its shards: they stop, and go on after the repair; what is taken in
again counts once.

(Of customers who were united since, it may count twice: what one had seen lies with the other by then.)
"""

import subprocess
from copy import copy
from pathlib import Path

import msgspec
import pytest

from flows.cli import repair_screen
from flows.runtime.deployment import Deployment
from schemas.errors import ConfigError, Torn
from schemas.records.customer_profile import Profile
from schemas.wire.events import RawEvent
from tests.running import COMMAND
from tests.site import Site


def bought(site: Site) -> RawEvent:
    """An event of one of so many people that no shard is without any."""
    body = {
        "messageId": f"m{next(site._message)}",
        "type": "track",
        "event": "Bought",
        "userId": f"u{site.random.randrange(60)}",
    }
    return RawEvent(msgspec.json.encode(body), site.now_s * 1000, "web")


def settle(site: Site) -> None:
    for _ in range(4):  # what is handed over may hand over more
        site.apply()
        site.forward()


def events(site: Site) -> int:
    prefixes = [site.client.keys(f"mr:{{s{shard:02d}}}:p:*") for shard in range(site.config.shards.count)]
    profiles = [
        msgspec.msgpack.decode(site.client.get(key) or b"", type=Profile)
        for found in prefixes
        for key in found
    ]
    return sum(fragment.events for profile in profiles for fragment in profile.fragments.values())


def directory(site: Site) -> dict[bytes, bytes]:
    """All of it, as Redis stores it."""
    return {key: site.client.dump(key) or b"" for key in site.client.keys("mr:{dir}:*")}


def put_back(site: Site, older: dict[bytes, bytes]) -> None:
    for key in site.client.keys("mr:{dir}:*"):
        site.client.delete(key)
    for key, dumped in older.items():
        site.client.restore(key, 0, dumped)


def repaired(site: Site, capsys: pytest.CaptureFixture[str]) -> list[int]:
    """All shards; those that needed it. A second time none does."""
    found = []
    for shard in range(site.config.shards.count):
        assert repair_screen.shard(site.config, shard) == 0
        found += [shard] if "back from entry" in capsys.readouterr().out else []
        assert repair_screen.shard(site.config, shard) == 0
        assert "nothing to repair" in capsys.readouterr().out
    return found


def test_a_shard_goes_back_to_the_end_of_its_log(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    site._event = lambda: bought(site)  # type: ignore[method-assign]
    for _ in range(10):
        site.window()
    settle(site)
    older = directory(site)
    luck, messages = site.random.getstate(), copy(site._message)
    for _ in range(10):
        site.window()
    settle(site)
    counted, said = events(site), site.directory.stats()
    put_back(site, older)

    with pytest.raises(Torn, match="millrace repair shard"):
        site.start()
    assert repaired(site, capsys)
    site.start()
    site.random.setstate(luck)
    site._message = messages
    for _ in range(10):  # the same windows again, from the raw log
        site.window()
    settle(site)
    assert site.directory.stats() == said
    assert events(site) == counted


@pytest.mark.parametrize("unread", [0, 2])
def test_a_log_that_has_grown_again_beyond_its_old_end_is_not_taken_for_the_old_one(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], unread: int
) -> None:
    """`unread`: windows that the shards had not read when the tail was lost. By its length nothing is wrong
    with the log."""
    site = Site(tmp_path, redis_url, archive=False).start()
    site._event = lambda: bought(site)  # type: ignore[method-assign]
    for _ in range(10):
        site.window()
    settle(site)
    for _ in range(unread):
        site.window()
    older, luck, messages = directory(site), site.random.getstate(), copy(site._message)
    for _ in range(5):
        site.window()
    settle(site)
    counted, said = events(site), site.directory.stats()["events"]
    put_back(site, older)
    site.now_s += 60
    site.random.setstate(luck)
    site._message = messages
    for _ in range(40):  # the same again, and then others
        site.window()
    heads, ends = Deployment(site.config).shards.heads(), site.directory.heads()
    assert all(head.offset < ends[shard] for shard, head in heads.items()), (
        "the logs have not grown enough: the test shows nothing"
    )

    with pytest.raises(Torn, match="has lost its tail, and has grown again"):
        site.start()
    assert repaired(site, capsys)
    site.start()
    settle(site)
    assert events(site) == counted + site.directory.stats()["events"] - said


def test_a_shard_that_is_well_is_left_alone(redis_url: str, tmp_path: Path) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    site.window()
    settle(site)
    before = site.digest()
    argv = [*COMMAND, "repair", "shard", "1", "-c", str(site.file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert "shard 1 has read its log up to entry" in done.stdout
    assert site.digest() == before
    with pytest.raises(ConfigError, match=r"there is no shard 9: shards\.count is 4"):
        repair_screen.shard(site.config, 9)
