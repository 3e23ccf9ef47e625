-- What many fields of one kind hold, wherever their buckets lie: one command for what would be one HGET each.
--
-- KEYS[1]  <prefix>:{tag}:<kind>: every key read begins with it, so all lie in one slot
-- ARGV[1]  buckets; ARGV[2] bytes of a field; ARGV[3] the fields, one behind the other
--
-- Answers: a list, false (nil) for what is not there.
-- Cost:    about 0.7 us for each field.

local P, buckets, size, fields = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local call, byte, sub = redis.call, string.byte, string.sub
local found, n = {}, 0
for at = 1, #fields, size do
  local field = sub(fields, at, at + size - 1)
  local a, b, c, d = byte(field, 1, 4)
  n = n + 1
  found[n] = call('HGET', P .. (((a * 256 + b) * 256 + c) * 256 + d) % buckets, field)
end
return found
