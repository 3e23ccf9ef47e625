-- Say whether a code is the one that a customer was sent; forget it after too many wrong ones.
-- KEYS: the confirmation. ARGV: what was said, how many tries there are.
local kept = redis.call('HGET', KEYS[1], 'code')
if not kept then return 'none' end
if kept == ARGV[1] then return 'good' end
if redis.call('HINCRBY', KEYS[1], 'tries', 1) >= tonumber(ARGV[2]) then redis.call('DEL', KEYS[1]) end
return 'wrong'
