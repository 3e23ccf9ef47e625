-- Appends to outboxes of shards. (One command for all of them: each of its own costs a client some 8 us.)
--
-- KEYS     the lanes that are touched
-- ARGV[1]  when (Unix milliseconds); then for each of KEYS how many entries it keeps at least (0: all); then for each entry: which of
--          KEYS, its sequence, its body
--
-- Atomic: everything. Cost: about 1 us for each entry.

local call, stamp = redis.call, ARGV[1]
for i = #KEYS + 2, #ARGV, 3 do
  local lane = tonumber(ARGV[i])
  local most = ARGV[lane + 1]
  if most == '0' then
    call('XADD', KEYS[lane], ARGV[i + 1] .. '-0', 'b', ARGV[i + 2], 't', stamp)
  else
    call('XADD', KEYS[lane], 'MAXLEN', '~', most, ARGV[i + 1] .. '-0', 'b', ARGV[i + 2], 't', stamp)
  end
end
