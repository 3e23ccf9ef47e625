-- Keeps a code in place of the one before, unless that one was put a moment ago.
-- KEYS[1]: the confirmation. ARGV: the code, how many seconds it lives, how many lie between two.
-- Atomic for the confirmation: of several at once one is kept. Returns -1 where it is, else how many seconds ago the
-- one before was put. Cost: four commands on a small hash.
local left = redis.call('TTL', KEYS[1])
local age = tonumber(ARGV[2]) - left
if left >= 0 and age < tonumber(ARGV[3]) then return math.max(age, 0) end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'code', ARGV[1], 'tries', 0)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return -1
