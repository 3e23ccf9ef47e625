-- Replaces a request, or a mandate, if it is still what was read.
-- KEYS[1]: all of them, id -> packed. KEYS[2]: the ids of those that are not done.
-- ARGV: its id, packed as it was read, packed as it is now, 1 if it is finished.
-- Atomic for the one: what is written to others meanwhile does not matter. Returns 1; 0 where it is another one by
-- now. Cost: three commands.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] == '1' then redis.call('SREM', KEYS[2], ARGV[1]) end
return 1
