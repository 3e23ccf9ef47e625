-- Drops what shards have committed from their logs, unless a backup is copying: it needs all behind the copies of the shards.
--
-- KEYS[1]  <prefix>:{dir}:
-- ARGV     pairs of a shard and the first sequence to keep
--
-- Answers: 1 trimmed | 0 held
-- Cost:    one XTRIM for each shard; less than as many commands in a pipeline.

local P, call = KEYS[1], redis.call
if call('EXISTS', P .. 'hold') == 1 then return 0 end
for i = 1, #ARGV, 2 do call('XTRIM', P .. 'log:' .. ARGV[i], 'MINID', '=', ARGV[i + 1] .. '-0') end
return 1
