-- Changes the timer indexes of shards.
--
-- KEYS     <prefix>:{sNN}: of each shard that is touched
-- ARGV     for each customer: which of KEYS, its bucket, its root, when it is due (Unix milliseconds; 0 takes it out)
--
-- tm:<bucket>  sorted set: root by due time, few enough for a listpack: some 30 B each instead of 109
-- due          sorted set: bucket by its first due time, so that nobody looks into buckets where nothing is due
-- timers       sorted set: root by due time, as releases before format 2 kept it; emptied as its customers change
--
-- Atomic: everything. Cost: about 2 us for each customer.

local call, former, touched = redis.call, {}, {}
for i, shard in ipairs(KEYS) do former[i], touched[i] = call('EXISTS', shard .. 'timers') == 1, {} end
for i = 1, #ARGV, 4 do
  local number, bucket, root, due = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local shard = KEYS[number]
  if former[number] then call('ZREM', shard .. 'timers', root) end
  if due == '0' then call('ZREM', shard .. 'tm:' .. bucket, root) else call('ZADD', shard .. 'tm:' .. bucket, due, root) end
  touched[number][bucket] = true
end
for i, shard in ipairs(KEYS) do
  for bucket in pairs(touched[i]) do
    local first = call('ZRANGE', shard .. 'tm:' .. bucket, 0, 0, 'WITHSCORES')[2]
    if first then call('ZADD', shard .. 'due', first, bucket) else call('ZREM', shard .. 'due', bucket) end
  end
end
