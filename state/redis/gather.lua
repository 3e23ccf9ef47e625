-- What many fields of one kind hold, wherever their buckets lie: one command for what would be one HGET each.
--
-- KEYS[1]  <prefix>:{tag}:<kind>: every key read begins with it, so all lie in one slot
-- ARGV[1]  buckets; ARGV[2] bytes of a field; ARGV[3] the fields, one behind the other
--
-- Answers: a list, false (nil) for what is not there.
-- Cost:    about 0.7 us for each field.

local P, buckets, size, fields = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local call, sub, format, number = redis.call, string.sub, string.format, struct.unpack
local found, n = {}, 0
for at = 1, #fields, size do
  n = n + 1
  found[n] = call('HGET', P .. format('%d', number('>I4', fields, at) % buckets), sub(fields, at, at + size - 1))
end
return found
