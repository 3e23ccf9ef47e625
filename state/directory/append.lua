-- Everything but windows that enters the shards' logs: ticks, config and model versions, absorbed customers, facts that were put aside;
-- and what matching put aside and is to hear again.
--
-- KEYS[1]  <prefix>:{dir}:
-- ARGV[1]  kind of record: t c m a e h n
-- ARGV[2]  sender, and ARGV[3] its sequence: a sequence that was taken before is not taken again ("0" for ticks). n: the sender is what is not to be
--          taken twice; the last 100,000 are remembered
-- ARGV[4]  msgpack body of the record; empty for a tick, which reads the server's clock; h: `r` or `d`, then an entry of matching's log
-- ARGV[5]  a: the survivor as it was known; e: the fact's origin; n: the customer (the root of each is looked up now); c, m: the version; h: Unix ms
-- ARGV[6]  c, m: what is announced; kept in the directory under body:<kind>:<sender>:<version>
-- ARGV[7]  number of shards; ARGV[8] number of buckets
-- ARGV[9]  1: an archive reads the journal, which therefore keeps all that is needed to do this again. An operator's command may have another
--          configuration than the flows: where an archive was ever begun it is all kept, but for what `learn`, which is a flow, announces
-- ARGV[10] t: the second to announce, in a replay; empty for the server's clock
--
-- Answers: 1 appended | 0 seen before (a tick: this second has been announced), or for a customer who was erased
-- Atomic:  everything.
-- Cost:    one XADD for each shard (64: about 0.2 ms); one for an absorb or a fact.

local P, kind, sender, seq, body = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local shards, buckets = tonumber(ARGV[7]), tonumber(ARGV[8])
local call, byte = redis.call, string.byte

if kind == 't' then
  local now = ARGV[10] ~= '' and ARGV[10] or call('TIME')[1]
  local second = tonumber(now)
  if second <= tonumber(call('HGET', P .. 'meta', 'tick') or 0) then return 0 end
  call('HSET', P .. 'meta', 'tick', now)
  body = cmsgpack.pack({second * 1000})
elseif kind == 'n' then
  if call('ZSCORE', P .. 'refused', sender) then return 0 end
  call('ZADD', P .. 'refused', call('HGET', P .. 'meta', 'journal') or 0, sender)
  call('ZREMRANGEBYRANK', P .. 'refused', 0, -100001)
else
  if seq <= tonumber(call('HGET', P .. 'senders', sender) or 0) then return 0 end
  call('HSET', P .. 'senders', sender, ARGV[3])
end

local first, last = 0, shards - 1
if kind == 'h' then
  local heard = string.format('%.0f-0', call('HINCRBY', P .. 'meta', 'matches', 1))
  call('XADD', P .. 'matches', heard, string.sub(body, 1, 1), string.sub(body, 2), 't', ARGV[5])
  last = -1  -- of no shard
elseif kind == 'a' or kind == 'e' or kind == 'n' then
  local root = ARGV[5]
  local a, b, c, d = byte(root, 1, 4)
  local mark = call('HGET', P .. 'x:' .. (((a * 256 + b) * 256 + c) * 256 + d) % buckets, root)
  if mark == 'e' or (mark and kind ~= 'a') then  -- who is being erased is still given what was on its way, but no events
    call('HINCRBY', P .. 'stats', 'dropped_for_erased', 1)
    return 0
  end
  root = call('HGET', P .. 'o:' .. (((a * 256 + b) * 256 + c) * 256 + d) % buckets, root) or root
  a, b = byte(root, 1, 2)
  first = (a * 256 + b) % shards
  last = first
  body = root .. body
elseif kind ~= 't' then
  call('SET', P .. 'body:' .. kind .. ':' .. sender .. ':' .. ARGV[5], ARGV[6])
end

for shard = first, last do
  local head = call('HINCRBY', P .. 'heads', shard, 1)
  call('XADD', P .. 'log:' .. shard, string.format('%.0f-0', head), kind, body)
end
local journal = call('HINCRBY', P .. 'meta', 'journal', 1)
local entry = string.format('%.0f-0', journal)
local is_archived = ARGV[9] == '1' or (kind ~= 't' and string.sub(sender, 1, 6) ~= 'learn:' and call('EXISTS', P .. 'archived') == 1)
if not is_archived then
  call('XADD', P .. 'journal', 'MAXLEN', '~', 100000, entry, kind, body)
elseif kind == 't' then
  call('XADD', P .. 'journal', entry, kind, body)
else
  call('XADD', P .. 'journal', entry, kind, body, 'sender', sender, 'sent', ARGV[3], 'extra', ARGV[5], 'announced', ARGV[6])
end
return 1
