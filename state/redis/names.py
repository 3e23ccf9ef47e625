"""Every Redis key of the state, in one place. `{...}` is the hash tag: one tag, one slot, one unit of
atomicity."""


class Names:
    """Keys under one prefix. Identifier and profile keys hold raw bytes, so all keys are bytes."""

    def __init__(self, prefix: str) -> None:
        p = prefix.encode()
        self.prefix = p
        # the directory
        # scripts append: i:<bucket> o:<bucket> r:<bucket> u:<bucket> a:<bucket> x:<bucket> log:<shard> ...
        self.directory = p + b":{dir}:"
        self.meta = self.directory + b"meta"  # hash: deployment, shards, buckets, format; journal, tick
        self.offsets = self.directory + b"offsets"  # hash: source partition -> position
        self.stats = self.directory + b"stats"  # hash: counters
        self.senders = self.directory + b"senders"  # hash: sender -> last sequence taken from it
        self.heads = self.directory + b"heads"  # hash: shard -> last sequence in its log
        self.journal = self.directory + b"journal"  # stream
        self.archived = self.directory + b"archived"  # last entry of the journal that is safe in the archive
        self.hold = self.directory + b"hold"  # while a backup copies: its name; expires
        self.dead = self.directory + b"dead"  # stream
        self.ledger = self.directory + b"ledger"  # stream: unions, and those that were undone
        self.suppressed = self.directory + b"suppressed"  # hash: identifier whose events are dropped -> since
        # hash: number of an entry that is gone from the ledger -> where it led the others whom it named
        self.skipped = self.directory + b"skipped"
        # hash: two origins, the smaller first -> since, by whom, evidence
        self.reviews = self.directory + b"reviews"
        self.cannot_link = self.directory + b"apart"  # hash: origin -> origins that it is never united with
        self.matches = self.directory + b"matches"  # stream: what matching is to hear of
        self.matcher = self.directory + b"matcher"  # hash: its own state
        # hash: number -> what profiles are compressed with
        self.dictionaries = self.directory + b"dictionaries"
        self.suspended = self.directory + b"suspended"  # hash: identifier -> since
        self.sources = self.directory + b"sources"  # hash: source -> its suspension
        self.given_up = self.directory + b"given_up"  # hash: supervisor -> processes that it has given up
        # what looks like personal data. hash: worker -> its findings
        self.personal = p + b":{quality}:personal"
        # what customers ask for; apart from the directory, which a rebuild makes anew
        self.requests = p + b":{privacy}:requests"  # hash: id -> request
        self.open_requests = p + b":{privacy}:open"  # set: ids of those that are not done
        # codes by which they confirm a yes; customer and purpose follow
        self._confirmations = p + b":{privacy}:code:"
        self.sweep = p + b":{privacy}:sweep"  # string: how far the sweep of retention has come
        self.held = p + b":{privacy}:held"  # hash: origin that retention must not erase -> since, by whom
        self.mandates = p + b":{privacy}:mandates"  # hash: id -> what another system asks
        self.open_mandates = p + b":{privacy}:mandates_open"  # set: ids of those that are not done
        # links into the privacy centre that were used, and browsers that are in it; all of it expires
        self.centre = p + b":{centre}:"
        # and who listens to changes: written to see that it has heard of all before
        self.barrier = p + b":{copy}:"
        # keys of origins and disabled endpoints
        self.data_keys = p + b":{keys}:"  # hash for each bucket: origin -> wrapped data key
        # hash: key-encryption key that wraps any of them -> what it made of `key_wrapping.PROBE`
        self.keks = p + b":{kek}:used"
        self.making_kek = p + b":{kek}:making"  # string: while another one is made; expires
        self.deliveries = p + b":{deliver}:"
        self.dead_deliveries = self.deliveries + b"dead"  # stream
        self.disabled = self.deliveries + b"disabled"  # hash: connector -> endpoint that answered 410
        self.delivered = self.deliveries + b"counts"  # hash: OUTCOME:CONNECTOR -> how many

    def used_link(self, nonce: bytes) -> bytes:
        return self.centre + b"used:" + nonce.hex().encode()

    def centre_session(self, name: bytes) -> bytes:
        return self.centre + b"session:" + name.hex().encode()

    def bucket(self, kind: bytes, identity: bytes, buckets: int) -> str:
        return (self.directory + kind + b"%d" % (int.from_bytes(identity[:4]) % buckets)).decode()

    def log(self, shard: int) -> bytes:
        return b"%slog:%d" % (self.directory, shard)

    def confirmation(self, customer: bytes, purpose: str) -> bytes:
        """Return the hash of the code that a customer was sent."""
        return self._confirmations + customer.hex().encode() + b":" + purpose.encode()

    def body(self, kind: str, sender: str, version: int) -> bytes:
        return b"%sbody:%s:%s:%d" % (self.directory, kind.encode(), sender.encode(), version)

    def shard(self, shard: int) -> bytes:
        return b"%s:{s%02d}:" % (self.prefix, shard)

    def head(self, shard: int) -> bytes:
        return self.shard(shard) + b"head"

    def counters(self, shard: int) -> bytes:
        return self.shard(shard) + b"counters"

    def due(self, shard: int) -> bytes:
        return self.shard(shard) + b"due"  # sorted set: bucket of timers by its first due time

    def timers(self, shard: int, bucket: int) -> bytes:
        return b"%stm:%d" % (self.shard(shard), bucket)  # sorted set: root by due time

    def former_timers(self, shard: int) -> bytes:
        return self.shard(shard) + b"timers"  # the same in one piece, as format 1 had it

    def sealed(self, shard: int, bucket: int) -> bytes:
        return b"%sxs:%d" % (self.shard(shard), bucket)  # hash: root -> sealed record

    def former_sealed(self, shard: int, root: bytes) -> bytes:
        return self.shard(shard) + b"x:" + root  # the record itself, as format 1 had it

    def outbox(self, shard: int, lane: str) -> bytes:
        return self.shard(shard) + b"out:" + lane.encode()

    def cursors(self, shard: int) -> bytes:
        return self.shard(shard) + b"cursors"  # hash: lane:consumer -> sequence

    def model(self, model: str) -> bytes:
        return b"%s:{models}:%s:checkpoint" % (
            self.prefix,
            model.encode(),
        )  # hash: revision, checkpoint; wishes, wished

    @property
    def unlearnt(self) -> bytes:
        return self.prefix + b":{models}:unlearnt"  # stream: examples that a trainer raised on

    def readmitted(self, model: str) -> bytes:
        return b"%s:{models}:%s:readmitted" % (
            self.prefix,
            model.encode(),
        )  # stream: those that are to be learnt after all
