-- Appends entries to the partitions of the raw log: all of them, or none where a partition has no room for its part.
--
-- KEYS[1]     hash of counters; field `a:<p>` = events ever appended to partition p, `t:<p>` = events trimmed from it
-- KEYS[2..]   the partitions' streams, from partition 0 on
-- ARGV[1]     how many events a partition may hold
-- ARGV[2..]   for each entry: the partition's number, events in the entry, blob
-- Returns     an empty list where all is stored; else how many events each partition (from 0 on) has room for
--
-- Atomic: everything; all is checked before the first write. Cost: two commands for each entry, one for each partition.
-- Field `c` of an entry is the count of events appended to its partition up to and with this entry.

local max = tonumber(ARGV[1])
local appended, held = {}, {}

local function look(partition)
    local counts = redis.call('HMGET', KEYS[1], 'a:' .. partition, 't:' .. partition)
    appended[partition] = tonumber(counts[1] or 0)
    held[partition] = appended[partition] - tonumber(counts[2] or 0)
end

local full = false
local wanted = {}
for i = 2, #ARGV, 3 do
    local partition = tonumber(ARGV[i])
    if not held[partition] then look(partition) end
    wanted[partition] = (wanted[partition] or 0) + tonumber(ARGV[i + 1])
    full = full or held[partition] + wanted[partition] > max
end

if full then
    local room = {}
    for partition = 0, #KEYS - 2 do
        if not held[partition] then look(partition) end
        room[partition + 1] = math.max(0, max - held[partition])
    end
    return room
end

for i = 2, #ARGV, 3 do
    local partition, events = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    appended[partition] = appended[partition] + events
    local total = string.format('%.0f', appended[partition])
    redis.call('HSET', KEYS[1], 'a:' .. partition, total)
    redis.call('XADD', KEYS[partition + 2], '*', 'b', ARGV[i + 2], 'n', events, 'c', total)
end
return {}
