-- The customers of one shard that are due first. What lies where: timers.lua.
--
-- KEYS[1]  <prefix>:{sNN}:
-- ARGV[1]  up to when (Unix milliseconds); ARGV[2] how many
--
-- Answers: root, due time, root ...: those that were asked for and perhaps later ones, in no order
-- Cost:    some 3 us for each bucket with somebody who is due. Of each only a few are read at first: if very many are due
--          (after a day's pause everybody is) those of all buckets together are enough.

local P, upto, limit, call = KEYS[1], ARGV[1], tonumber(ARGV[2]), redis.call
local buckets = call('ZRANGEBYSCORE', P .. 'due', '-inf', upto)
local found, before, few = nil, nil, 8
repeat
  few = few * 2
  found, before = call('ZRANGEBYSCORE', P .. 'timers', '-inf', upto, 'WITHSCORES', 'LIMIT', 0, limit), math.huge
  for _, bucket in ipairs(buckets) do
    local first = call('ZRANGEBYSCORE', P .. 'tm:' .. bucket, '-inf', upto, 'WITHSCORES', 'LIMIT', 0, few)
    for i = 1, #first do found[#found + 1] = first[i] end
    if #first == 2 * few then before = math.min(before, tonumber(first[#first])) end  -- there all that are due earlier are known
  end
  local sure = 0
  for i = 2, #found, 2 do if tonumber(found[i]) < before then sure = sure + 1 end end
until sure >= limit or before == math.huge or few >= limit
return found
