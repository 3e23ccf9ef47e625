-- Puts data keys that were wrapped anew in the place of what they were wrapped before.
-- KEYS[1]: a bucket of data keys. ARGV: origin, wrapped before, wrapped now; and so on.
-- Atomic for the bucket: a key that is not there any more (its customer was erased), or is another one by now, stays
-- as it is. Returns how many were replaced. Cost: two commands on a small hash for each.
local replaced = 0
for at = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1] then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
    replaced = replaced + 1
  end
end
return replaced
