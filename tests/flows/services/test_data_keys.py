"""`millrace keys` on a deployment whose flows go on meanwhile: keys in a file, in a variable, and in a real
server of Vault's API."""

import threading
import traceback
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flows.cli import key_screen
from flows.runtime.deployment import Deployment
from flows.services import backups, data_keys, restore
from schemas.config import Keys
from schemas.errors import ConfigError, KeysAway
from state.key_ring import load_document
from tests.lives import lived
from tests.site import Site

if TYPE_CHECKING:
    from tests.vault_server import VaultServer


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Site:
    return Site(tmp_path, redis_url)


def on(site: Site, keys: Keys, prefix: str = "") -> Site:
    """Return the same folder and server, with other keys."""
    other = Site(site.folder, site.url, prefix or site.prefix)
    other.config = msgspec.structs.replace(other.config, keys=keys)
    return other


def standing(site: Site) -> data_keys.Standing:
    return data_keys.standing(Deployment(site.config))


def rotate(site: Site, monkeypatch: pytest.MonkeyPatch) -> data_keys.Rotated:
    monkeypatch.setattr(data_keys, "SAFE_AFTER_S", 0.0)
    return data_keys.rotate(Deployment(site.config))


def uses(found: data_keys.Standing) -> dict[str, int]:
    return {version.key: version.uses for version in found.versions}


# --- in a file


def test_a_rotation_wraps_all_anew_and_what_runs_goes_on_with_the_new_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.start()
    for _ in range(10):
        site.window()
    before = standing(site)
    assert before.provider == "file"
    assert uses(before) == {"kek-1": before.data_keys}
    assert before.data_keys > 5
    said = site.digest(said=True)
    done = rotate(site, monkeypatch)
    assert (done.made, done.newest, done.rewrapped, done.left) == (True, "kek-2", before.data_keys, 0)
    assert site.digest(said=True) == said
    site.random.seed(99)
    for _ in range(30):  # by the resolver that was there before the rotation
        site.window()
    after = standing(site)
    assert after.data_keys > before.data_keys
    assert uses(after) == {"kek-1": 0, "kek-2": after.data_keys}
    assert after.fingerprint == before.fingerprint


def test_a_backup_from_before_a_rotation_is_restored_after_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.start()
    lived(site, site.archiver(), 10)
    backups.make(Deployment(site.config))
    said = site.digest(said=True)
    rotate(site, monkeypatch)
    other = Site(site.folder, site.url, "b")
    deployment = Deployment(other.config)
    restore.restore(deployment, *restore.plan(deployment, None, None), None)
    assert other.digest(said=True) == said
    assert uses(standing(other))["kek-2"] == standing(other).data_keys > 0
    assert {*other.client.hkeys(other_keks(other))} == {b"kek-2"}


def other_keks(site: Site) -> bytes:
    return Deployment(site.config).names.keks


def test_an_older_file_is_refused_at_the_start_and_says_which_key_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.start()
    site.window()
    file = Path(site.config.keys.path)
    older = file.read_bytes()
    rotate(site, monkeypatch)
    newer = file.read_bytes()
    file.write_bytes(older)
    with pytest.raises(ConfigError, match=rf"^key kek-2 is missing: .*{file} does not have it"):
        Deployment(site.config).prepare()
    with pytest.raises(ConfigError, match="key kek-2 is missing"):  # a second kek-2 would be another one
        rotate(site, monkeypatch)
    assert standing(site).missing == ["kek-2"]
    assert key_screen.status(site.config, as_json=False) == 1
    assert "missing: kek-2" in capsys.readouterr().out
    file.write_bytes(newer)
    Deployment(site.config).prepare()
    assert key_screen.status(site.config, as_json=True) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["missing"] == []


def test_a_rotation_that_was_cut_off_is_finished_and_makes_no_other_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.start()
    site.window()
    Deployment(site.config).key_provider.rotate()  # and killed there
    done = rotate(site, monkeypatch)
    assert (done.made, done.newest) == (False, "kek-2")
    assert done.rewrapped > 0
    assert rotate(site, monkeypatch).newest == "kek-3"


def test_a_file_without_keks_serves_who_needs_no_personal_data(site: Site) -> None:
    site.start()
    site.window()
    file = Path(site.config.keys.path)
    document = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    del document["kek"]
    file.write_bytes(msgspec.json.encode(document))
    general = Deployment(site.config)
    assert general.machine() is not None
    assert general.models is not None
    assert general.directory.offsets()
    with pytest.raises(ConfigError, match="key kek-1 is missing"):
        _ = general.data_keys


def test_what_is_printed(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data_keys, "SAFE_AFTER_S", 0.0)
    site.start().window(6)
    count = standing(site).data_keys
    assert key_screen.rotate(site.config, as_json=False) == 0
    assert capsys.readouterr().out.startswith(f"made kek-2: {count} data keys wrapped anew in ")
    assert key_screen.status(site.config, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"file: {site.config.keys.path}, fingerprint ")
    assert [line.split()[:2] for line in lines[2:]] == [["kek-1", "0"], ["kek-2", str(count)]]
    assert key_screen.rotate(site.config, as_json=True) == 0
    done = msgspec.json.decode(capsys.readouterr().out)
    assert (done["made"], done["newest"], done["rewrapped"]) == (True, "kek-3", count)


def test_a_damaged_data_key_is_left_alone_and_keeps_no_rotation_from_being_made(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.start().window(6)
    names = Deployment(site.config).names
    bucket = next(site.client.scan_iter(match=names.data_keys + b"*"))
    origin, wrapped = next(iter(site.client.hgetall(bucket).items()))
    site.client.hset(bucket, origin, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    for newest in ("kek-2", "kek-3"):
        done = rotate(site, monkeypatch)
        assert (done.made, done.newest, done.damaged, done.left) == (True, newest, 1, 1)
    assert key_screen.rotate(site.config, as_json=False) == 1
    printed = capsys.readouterr().out
    assert "1 do not open, and stay as they are" in printed
    assert "once more" not in printed


# --- in a variable


def test_keys_in_a_variable_leave_nothing_on_the_disk(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = on(site, Keys(provider="env", path=str(site.folder / "none.json")))
    with pytest.raises(ConfigError, match=r"the environment has no \$MILLRACE_KEYS"):
        Deployment(other.config).prepare()
    assert key_screen.new() == 0
    monkeypatch.setenv("MILLRACE_KEYS", capsys.readouterr().out)
    other.start()
    other.window()
    said = other.digest(said=True)
    with pytest.raises(ConfigError, match="is not ours to change: give it key 2 under `kek`"):
        rotate(other, monkeypatch)
    import os

    document = msgspec.json.decode(os.environ["MILLRACE_KEYS"])
    document["kek"]["2"] = document["sign"]
    monkeypatch.setenv("MILLRACE_KEYS", msgspec.json.encode(document).decode())
    done = rotate(other, monkeypatch)
    assert (done.made, done.newest, done.left) == (False, "kek-2", 0)
    assert other.digest(said=True) == said
    assert not (site.folder / "none.json").exists()
    monkeypatch.setenv("MILLRACE_KEYS", "{}")
    with pytest.raises(ConfigError, match=r"\$MILLRACE_KEYS is no key file of millrace: key hash is missing"):
        Deployment(other.config).prepare()


# --- in Vault


def test_with_vault_no_key_is_on_the_disk_and_a_rotation_is_the_servers(
    site: Site, vault: "VaultServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    other = on(site, vault.keys(site.folder / "wrapped.json")).start()
    other.window()
    plain = Deployment(other.config).keys
    file = site.folder / "wrapped.json"
    document = load_document(file)
    assert (document.general, document.keks) == ({}, {})
    assert file.stat().st_mode & 0o777 == 0o600
    said, before = other.digest(said=True), standing(other)
    assert before.provider == "vault"
    done = rotate(other, monkeypatch)
    assert (done.made, done.left, done.rewrapped) == (True, 0, before.data_keys)
    newest = int(done.newest.removeprefix("vault-"))
    for name in ("millrace-general", "millrace-sensitive"):
        vault.transit.update_key_configuration(name, min_decryption_version=newest)
    assert load_document(file).wrapped != document.wrapped
    assert Deployment(other.config).keys == plain
    assert other.digest(said=True) == said
    assert uses(standing(other)) == {done.newest: before.data_keys}


def test_a_minimum_version_that_shuts_data_keys_out_is_refused_at_the_start(
    site: Site, vault: "VaultServer"
) -> None:
    other = on(site, vault.keys(site.folder / "wrapped.json")).start()
    other.window()
    old = standing(other).newest
    vault.transit.rotate_key("millrace-sensitive")
    version = int(old.removeprefix("vault-"))
    vault.transit.update_key_configuration("millrace-sensitive", min_decryption_version=version + 1)
    with pytest.raises(ConfigError, match=rf"^key {old} is missing: .*min_decryption_version to {version}"):
        Deployment(other.config).prepare()
    vault.transit.update_key_configuration("millrace-sensitive", min_decryption_version=version)
    Deployment(other.config).prepare()


def test_another_key_of_the_same_name_on_the_server_is_refused_at_the_start(
    site: Site, vault: "VaultServer"
) -> None:
    """As after the server lost its data and the key was made again."""
    options = vault.options(key="lost")
    keys = Keys(provider="vault", path=str(site.folder / "wrapped.json"), vault=options)
    on(site, keys).start().window()
    vault.transit.update_key_configuration("lost-sensitive", deletion_allowed=True)
    vault.transit.delete_key("lost-sensitive")
    with pytest.raises(KeysAway, match="encryption key not found"):
        _ = Deployment(on(site, keys).config).data_keys
    vault.transit.create_key("lost-sensitive", derived=True)
    with pytest.raises(ConfigError, match=r"^key vault-1 of Vault at .* is not the one that wraps"):
        _ = Deployment(on(site, keys).config).data_keys


def test_a_deployment_moves_from_its_file_to_vault_while_it_runs(
    site: Site, vault: "VaultServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    site.start()
    for _ in range(5):
        site.window()
    said, before, file = site.digest(said=True), standing(site), Path(site.config.keys.path)
    moved = on(site, vault.keys(file))
    assert standing(moved).fingerprint == before.fingerprint
    moved.start()  # as after a restart
    assert moved.digest(said=True) == said
    done = rotate(moved, monkeypatch)
    assert (done.made, done.rewrapped, done.left) == (False, before.data_keys, 0)
    assert (load_document(file).general, load_document(file).keks) == ({}, {})
    assert moved.digest(said=True) == said
    moved.window()
    assert {version.key for version in standing(moved).versions if version.uses} == {done.newest}
    with pytest.raises(ConfigError, match="holds keys that Vault has wrapped"):
        Deployment(site.config).prepare()


def test_who_needs_no_personal_data_needs_no_access_to_its_keys(site: Site, vault: "VaultServer") -> None:
    from tests.vault_server import GENERAL, POLICY

    file = site.folder / "wrapped.json"
    on(site, vault.keys(file)).start()
    general = Deployment(on(site, vault.keys(file, vault.token_for("general", GENERAL))).config)
    assert general.machine() is not None  # what `profile` has
    assert general.models is not None  # what `learn` has
    assert general.directory.offsets() == {}
    with pytest.raises(KeysAway, match=r"Forbidden: .*permission denied$"):
        _ = general.data_keys.of([b"a" * 12], create=True)
    both = Deployment(on(site, vault.keys(file, vault.token_for("both", POLICY))).config)
    assert set(both.data_keys.of([b"a" * 12], create=True)) == {b"a" * 12}


def test_what_the_documentation_allows_is_enough_and_needed_to_rotate(
    site: Site, vault: "VaultServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.vault_server import POLICY, ROTATING

    file = site.folder / "wrapped.json"
    on(site, vault.keys(file)).start().window()
    refused = on(site, vault.keys(file, vault.token_for("running", POLICY))).start()
    refused.window()
    with pytest.raises(KeysAway, match="permission denied"):
        rotate(refused, monkeypatch)
    allowed = on(site, vault.keys(file, vault.token_for("rotating", POLICY + ROTATING)))
    assert rotate(allowed, monkeypatch).left == 0


def test_keys_that_the_token_may_not_make_are_asked_of_the_operator(site: Site, vault: "VaultServer") -> None:
    from tests.vault_server import POLICY

    token = vault.token_for("other", POLICY.replace("millrace-", "other-"))
    vault_options = vault.options(token, key="other")
    keys = Keys(provider="vault", path=str(site.folder / "wrapped.json"), vault=vault_options)
    with pytest.raises(ConfigError, match=r"`vault write transit/keys/other-general derived=true"):
        Deployment(on(site, keys).config).prepare()
    for name in ("other-general", "other-sensitive"):
        vault.transit.create_key(name, derived=True)
    Deployment(on(site, keys).config).prepare()


def test_all_new_customers_of_a_window_are_one_request(
    site: Site, vault: "VaultServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    from state.vault_transit import Transit

    asked: list[str] = []
    batch = Transit._batch

    def counted(transit: Transit, verb: str, *rest: Any) -> Any:
        asked.append(verb)
        return batch(transit, verb, *rest)

    config = on(site, vault.keys(site.folder / "wrapped.json")).start().config
    new = [n.to_bytes(12) for n in range(240)]
    running = Deployment(config).data_keys
    monkeypatch.setattr(Transit, "_batch", counted)
    running.of(new, create=True)
    assert asked == ["encrypt_data"]
    running.of(new, create=True)
    assert asked == ["encrypt_data"], "they are remembered"
    asked.clear()
    restarted = Deployment(config).data_keys
    asked.clear()  # what every start asks for
    restarted.of([*new, b"another one "], create=True)
    assert asked == ["decrypt_data", "encrypt_data"]


def test_no_answer_of_the_server_gets_into_a_message(site: Site, vault: "VaultServer") -> None:
    """hvac has the plain keys of the others in what it raises where one does not open."""
    from state.key_wrapping import NotOpened

    config = on(site, vault.keys(site.folder / "wrapped.json")).start().config
    ours = Deployment(config).wrapping
    plain = bytes(range(32))
    [wrapped] = ours.wrap([(b"a" * 12, plain)])
    with pytest.raises(NotOpened) as caught:
        ours.unwrap([(b"a" * 12, wrapped), (b"b" * 12, wrapped)])
    told = "".join(traceback.format_exception(caught.value))
    assert b64encode(plain).decode() not in told


def test_a_token_that_ran_out_is_read_again(site: Site, vault: "VaultServer") -> None:
    token = site.folder / "token"
    token.write_text(f"{vault.token}\n")
    keys = Keys(
        provider="vault",
        path=str(site.folder / "wrapped.json"),
        vault=vault.options("", token_file=str(token)),
    )
    deployment = Deployment(on(site, keys).start().config)
    made = deployment.data_keys
    token.write_text("hvs.expired")
    deployment.key_provider._transit._client.token = "hvs.expired"  # type: ignore[attr-defined]
    with pytest.raises(KeysAway, match="Forbidden"):
        made.of([b"a" * 12], create=True)
    token.write_text(vault.token)
    assert set(made.of([b"a" * 12], create=True)) == {b"a" * 12}


def test_a_server_that_is_killed_in_mid_run_is_waited_for_and_nothing_is_lost(
    site: Site, vault: "VaultServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    from structlog.testing import capture_logs

    from flows import resolve

    monkeypatch.setattr(resolve, "SAY_AFTER_S", 0.5)
    other = on(site, vault.keys(site.folder / "wrapped.json")).start()
    other.window()
    vault.kill()
    sent = other.client.dbsize(), other.directory.offsets()
    done: list[Any] = []

    def go_on() -> None:
        other.window(20)
        done.append(True)

    try:
        with capture_logs() as lines:
            waiting = threading.Thread(target=go_on)
            waiting.start()
            waiting.join(3)
            assert not done
            assert (other.client.dbsize(), other.directory.offsets()) == sent, "nothing is written meanwhile"
            with pytest.raises(KeysAway, match=r"Vault at .* cannot be reached"):
                Deployment(other.config).prepare()
            vault.start()
            waiting.join(2)
            assert not done, "it is sealed: it answers, and refuses"
    finally:
        vault.unseal()
    waiting.join(30)
    assert done == [True]
    [said] = [line for line in lines if line["event"] == "window_waits"]
    assert said["behind"].startswith("Vault at http://127.0.0.1:")
    assert uses(standing(other))[standing(other).newest] == standing(other).data_keys
