-- Say whether a code is the one that a customer was sent; forget it after too many wrong ones. What is left says
-- until it expires when it was sent, so that no other one is sent at once.
-- KEYS: the confirmation. ARGV: what was said, how many tries there are.
local kept = redis.call('HGET', KEYS[1], 'code')
if not kept then return 'none' end
if kept == ARGV[1] then return 'good' end
if redis.call('HINCRBY', KEYS[1], 'tries', 1) >= tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], 'code') end
return 'wrong'
