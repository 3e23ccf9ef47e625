"""A directory that came back older than its shards: they stop, and go on after the repair; what is taken in again counts once.

(Of customers who were united since, it may count twice: what one had seen lies with the other by then.)
"""

import subprocess
from copy import copy
from pathlib import Path

import msgspec
import pytest

from flows import repair
from schemas.errors import ConfigError, Torn
from schemas.events import RawEvent
from schemas.profile import Profile
from tests.running import COMMAND
from tests.site import Site


def bought(site: Site) -> RawEvent:
    """An event of one of twelve people."""
    body = {"messageId": f"m{next(site._message)}", "type": "track", "event": "Bought", "userId": f"u{site.random.randrange(12)}"}
    return RawEvent(msgspec.json.encode(body), site.now_s * 1000, "web")


def settle(site: Site) -> None:
    for _ in range(4):  # what is handed over may hand over more
        site.apply()
        site.forward()


def events(site: Site) -> int:
    prefixes = [site.client.keys(f"mr:{{s{shard:02d}}}:p:*") for shard in range(site.config.shards.count)]
    profiles = [msgspec.msgpack.decode(site.client.get(key) or b"", type=Profile) for found in prefixes for key in found]
    return sum(fragment.events for profile in profiles for fragment in profile.fragments.values())


def test_a_shard_goes_back_to_the_end_of_its_log(redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(tmp_path, redis_url, archive=False).start()
    site._event = lambda: bought(site)  # type: ignore[method-assign]
    for _ in range(10):
        site.window()
    settle(site)
    older = {key: site.client.dump(key) for key in site.client.keys("mr:{dir}:*")}
    luck, messages = site.random.getstate(), copy(site._message)
    for _ in range(10):
        site.window()
    settle(site)
    counted, said = events(site), site.directory.stats()
    for key in site.client.keys("mr:{dir}:*"):
        site.client.delete(key)
    for key, dumped in older.items():
        assert dumped is not None
        site.client.restore(key, 0, dumped)

    with pytest.raises(Torn, match="millrace repair shard"):
        site.start()
    ahead = []
    for shard in range(site.config.shards.count):
        assert repair.shard(site.config, shard) == 0
        out = capsys.readouterr().out
        ahead += [shard] if "the end of its log" in out else []
        assert repair.shard(site.config, shard) == 0
        assert "nothing to repair" in capsys.readouterr().out
    assert ahead
    site.start()
    site.random.setstate(luck)
    site._message = messages
    for _ in range(10):  # the same windows again, from the raw log
        site.window()
    settle(site)
    assert site.directory.stats() == said
    assert events(site) == counted


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
        repair.shard(site.config, 9)
