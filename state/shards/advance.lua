-- Moves a consumer's cursor forward; where it is further already, it stays.
--
-- KEYS[1]  <prefix>:{sNN}:cursors
-- ARGV     field (lane:consumer), sequence
--
-- Answers: 1 moved | 0 it was there
-- Cost:    two commands.

local held = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
if held >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
