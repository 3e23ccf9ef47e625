-- Appends entries to the partitions of the raw log, each unless its partition is full.
--
-- KEYS[1]     hash of counters; field `a:<p>` = events ever appended to partition p, `t:<p>` = events trimmed from it
-- KEYS[2..]   the partitions' streams
-- ARGV[1]     how many events a partition may hold
-- ARGV[2..]   for each entry: index of its stream in KEYS, the partition's number, events in the entry, blob
-- Returns     for each entry 1 (stored) or 0 (its partition is full)
--
-- Atomic: counters and streams change together. Cost: two commands for each entry.
-- Field `c` of an entry is the count of events appended to its partition up to and with this entry.

local max = tonumber(ARGV[1])
local results = {}
for i = 2, #ARGV, 4 do
    local stream, partition, events, blob = KEYS[tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
    local counts = redis.call('HMGET', KEYS[1], 'a:' .. partition, 't:' .. partition)
    local appended, trimmed = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
    if appended - trimmed + events > max then
        results[#results + 1] = 0
    else
        local total = string.format('%.0f', appended + events)
        redis.call('HSET', KEYS[1], 'a:' .. partition, total)
        redis.call('XADD', stream, '*', 'b', blob, 'n', events, 'c', total)
        results[#results + 1] = 1
    end
end
return results
