"""The rules of a configuration come into force: as one announcement, which every shard's log and the archive
have.

Whoever announces them (`millrace reload`, a SIGHUP, the start of `run`) comes here, and nobody takes away by
mistake what cannot be had back.
"""

from collections.abc import Callable
from functools import lru_cache

from flows.logic.facets.vocabulary import compile_rules
from flows.logic.rules.losses import losses
from flows.logic.rules.ruleset import CompiledRules
from schemas.config import Config, Shards
from schemas.config.toml import rules_document, rules_from
from schemas.errors import ConfigError, Damaged, Losing
from schemas.records.shard_log import LogKind
from state.damage import CHANGED, GONE, RESTORE, UNREADABLE
from state.directory.directory_protocol import Directory

RULES = "rules"  # the sender of rule versions


def announce(directory: Directory, config: Config, *, agreed: bool = False) -> int:
    """Announce the rules if they are not in force. Return their version, 0 where they were in force already.

    `agreed`: somebody has said yes to what goes with them. Raises `ConfigError` for rules that do not
    compile, and `Losing`.
    """
    compile_rules(config, 0, config.shards.dedupe)
    document, version = rules_document(config), directory.sent(RULES)
    in_force = directory.body(LogKind.CONFIG, RULES, version) if version else None
    if in_force == document:
        return 0
    if in_force is not None and not agreed and (lost := losses(rules_from(in_force), config)):
        raise Losing("these rules would take away what cannot be had back: " + "; ".join(lost))
    if (
        not directory.announce(LogKind.CONFIG, RULES, version + 1, version + 1, document)
        and directory.body(LogKind.CONFIG, RULES, version + 1) != document
    ):
        raise ConfigError(
            "other rules were announced at the same moment, and ours were not: look which are meant, and "
            "announce those"
        )
    return version + 1


def rules_loader(source: Directory, shards: Shards) -> Callable[[int], CompiledRules]:
    """Return what compiles announced rules by their version, each once. It raises `Damaged`."""

    @lru_cache(maxsize=8)
    def rules_of(version: int) -> CompiledRules:
        document = source.body(LogKind.CONFIG, RULES, version)
        what = f"the directory: {{dir}}:body:c:{RULES}:{version}, the rules in force,"
        if document is None:
            raise Damaged(f"{what} {GONE}: {RESTORE}")
        try:
            rules = rules_from(document)
        except (*UNREADABLE, ConfigError) as error:
            raise Damaged(f"{what} {CHANGED} ({error}): {RESTORE}") from error
        return compile_rules(rules, version, shards.dedupe, shards.count)

    return rules_of
