-- The identity graph: one window, planned against the graph as it is and committed as a whole.
-- This is the first of four parts of one script: what is given, and whether it may be done at all. graph.lua, orders.lua and window.lua follow.
--
-- KEYS[1]  <prefix>:{dir}:   every key used begins with it, so all lie in one slot
-- ARGV[1]  "plan" (reads only; answers where each fact would land), "survey" (the same, and what each customer has said) or "commit"
-- ARGV[2]  partition; ARGV[3] the position that the directory must hold; ARGV[4] the new one (text: Lua has 53 bits)
-- ARGV[5]  msgpack: {shards, buckets, limits by strength, longest shard log, longest dead-letter log, longest journal, policy,
--          bytes of the dead-letter log}
--          (0 as the longest journal: there is no archive that reads it, so it keeps short notes, and the last of them;
--          what the policy is made of stands in policy.py)
-- ARGV[6]  msgpack: {rejected by reason, number of dead letters, change of the graph up to which the worker knows it, or -1,
--          time of the window in Unix milliseconds, orders: {kind, by, 1 if forced, 1 if they name origins} each,
--          puts: {table, 1 if deleted} each, number of customers whose consent was looked at, or -1: nobody has said anything yet,
--          erasures that the worker knows of, or -1}
-- ARGV[7]  msgpack: numbers, for each group: identifiers n, facts m, n strengths, m pairs of (anchor, 1 if expected, 2 if also to be matched);
--          n = 0 for a group whose customer the worker knows: then nothing but m
-- ARGV[8+] what those numbers speak of, in the same order: n hashes, then for each fact its payload and, if expected,
--          the origin that it must land in and, if to be matched, what matching compares (n = 0: the root, then for each fact its origin and its payload);
--          after all groups for each order two identifiers and a note, for each put a field and a value, for each customer whose consent was
--          looked at its root and the mark of what it had said; then the dead letters, then what the journal keeps for the archive.
--          (Redis' msgpack knows no byte strings.)
--
-- Answers: {"ok", created, attached, united, moved, refused, journal, of each identifier given origin, root and 1 if it has no event to itself,
--          number of the last change of the graph, what this window changed, divided, suspended, erased} | {"plan", origins} | {"stale"} |
--          {"survey", origins, roots, of each root: {it, its members, {member, its record of consent, member ...}}} |
--          {"suspended", all identifiers that are evidence no longer: a group rests on one of them and on others} |
--          {"fenced", position} | {"full", shard or "journal"} | {"changed", number of the last change, what changed since} |
--          {"unsure": a group that the worker knows is of a customer that identifiers have left in this very window: all is to be looked up}
-- Atomic:  everything. A script does not roll back, so all reads and checks come before the first write.
-- Cost:    about 12 us for each event of a window, 4 us where the worker knows the customer: some 4 ms for a window of 500.

local P, mode, partition, before, after = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local settings, rest, numbers = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7])
local rejected, letters, epoch, time_ms = rest[1], rest[2], rest[3], rest[4]
local shards, buckets, limits, log_max, dead_max, journal_max, policy, dead_bytes =
  settings[1], settings[2], settings[3], settings[4], settings[5], settings[6], settings[7], settings[8]
local call, sub, byte, char, floor = redis.call, string.sub, string.byte, string.char, math.floor
local ID = 12

local groups, n, b = {}, 1, 8
while n <= #numbers do
  local ids, facts = {}, {}
  local n_ids, n_facts = numbers[n], numbers[n + 1]
  n = n + 2
  local root = nil
  if n_ids == 0 then
    root = ARGV[b]
    b = b + 1
    for f = 1, n_facts do
      facts[f] = {ARGV[b], ARGV[b + 1]}
      b = b + 2
    end
  end
  for i = 1, n_ids do ids[i] = {numbers[n], ARGV[b]}; n = n + 1; b = b + 1 end
  for f = 1, n_ids == 0 and 0 or n_facts do
    local fact = {numbers[n], ARGV[b]}
    b = b + 1
    if numbers[n + 1] >= 1 then fact[3] = ARGV[b]; b = b + 1 end
    if numbers[n + 1] == 2 then fact[4] = ARGV[b]; b = b + 1 end
    facts[f] = fact
    n = n + 2
  end
  groups[#groups + 1] = {ids, facts, root}
end

local orders = {}
for i, order in ipairs(rest[5]) do
  orders[i] = {kind = order[1], by = order[2], forced = order[3] == 1, origins = order[4] == 1, a = ARGV[b], b = ARGV[b + 1], note = ARGV[b + 2]}
  b = b + 3
end

local puts = {}
for i, put in ipairs(rest[6]) do
  puts[i] = {put[1], ARGV[b], put[2] ~= 1 and ARGV[b + 1]}
  b = b + 2
end

local looked_at = {}
for i = 1, rest[7] do
  looked_at[i] = {ARGV[b], ARGV[b + 1]}
  b = b + 2
end

if mode == 'commit' then
  local position = call('HGET', P .. 'offsets', partition) or '-1'
  if position ~= before then return {'fenced', position} end
  if rest[8] >= 0 and rest[8] ~= tonumber(call('HGET', P .. 'meta', 'erased') or 0) then return {'stale'} end
  local changes = tonumber(call('HGET', P .. 'meta', 'changes') or 0)
  if epoch >= 0 and epoch ~= changes then
    local behind = changes - epoch
    if behind < 0 or behind > call('LLEN', P .. 'changes') then return {'changed', changes} end
    return {'changed', changes, call('LRANGE', P .. 'changes', -behind, -1)}
  end
end

if mode == 'commit' and rest[7] < 0 and call('HEXISTS', P .. 'meta', 'consents') == 1 then return {'stale'} end

if mode == 'commit' and call('HLEN', P .. 'suspended') > 0 then
  for _, group in ipairs(groups) do
    if #group[1] > 1 then
      for _, id in ipairs(group[1]) do
        if call('HEXISTS', P .. 'suspended', id[2]) == 1 then return {'suspended', call('HKEYS', P .. 'suspended')} end
      end
    end
  end
end
