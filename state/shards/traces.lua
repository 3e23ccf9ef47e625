-- Customers who have no profile: has something else been kept of them?
--
-- KEYS     <prefix>:{sNN}: of each shard that is asked about
-- ARGV     for each customer: which of KEYS, its bucket, its root
--
-- Answers: the places, from 1, of those who have a timer or a sealed record (what lies where: timers.lua)
-- Cost:    about 1.5 us for each customer.

local call, found = redis.call, {}
for i = 1, #ARGV, 3 do
  local P, bucket, root = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if call('ZSCORE', P .. 'tm:' .. bucket, root) or call('HEXISTS', P .. 'xs:' .. bucket, root) == 1 then found[#found + 1] = (i + 2) / 3 end
end
return found
