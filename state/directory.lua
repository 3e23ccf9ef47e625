-- The identity graph: one window, planned against the graph as it is and committed as a whole.
--
-- KEYS[1]  <prefix>:{dir}:   every key used begins with it, so all lie in one slot
-- ARGV[1]  "plan" (reads only; answers where each fact would land) or "commit"
-- ARGV[2]  partition; ARGV[3] the position that the directory must hold; ARGV[4] the new one (text: Lua has 53 bits)
-- ARGV[5]  msgpack: {shards, buckets, limits by strength, longest shard log, longest dead-letter log, longest journal}
--          (0 as the longest journal: there is no archive that reads it, so it keeps short notes, and the last of them)
-- ARGV[6]  msgpack: {rejected by reason, number of dead letters, change of the graph up to which the worker knows it, or -1}
-- ARGV[7]  msgpack: numbers, for each group: identifiers n, facts m, n strengths, m pairs of (anchor, 1 if expected);
--          n = 0 for a group whose customer the worker knows: then nothing but m
-- ARGV[8+] what those numbers speak of, in the same order: n hashes, then for each fact its payload and, if expected,
--          the origin that it must land in (n = 0: the root, then for each fact its origin and its payload);
--          after all groups the dead letters, then what the journal keeps for the archive.
--          (Redis' msgpack knows no byte strings.)
--
-- Answers: {"ok", created, attached, united, moved, refused, journal, origin and root of each identifier given,
--          number of the last change of the graph, what this window changed} | {"plan", origins} | {"stale"} |
--          {"fenced", position} | {"full", shard or "journal"} | {"changed", number of the last change, what changed since}
-- Atomic:  everything. A script does not roll back, so all reads and checks come before the first write.
-- Cost:    about 12 us for each event of a window, 4 us where the worker knows the customer: some 4 ms for a window of 500.

local P, mode, partition, before, after = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local settings, rest, numbers = cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7])
local rejected, letters, epoch = rest[1], rest[2], rest[3]
local shards, buckets, limits, log_max, dead_max, journal_max =
  settings[1], settings[2], settings[3], settings[4], settings[5], settings[6]
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local ID = 12

local groups, n, b = {}, 1, 8
while n <= #numbers do
  local ids, facts = {}, {}
  local n_ids, n_facts = numbers[n], numbers[n + 1]
  n = n + 2
  local root = nil
  if n_ids == 0 then
    root = ARGV[b]
    b = b + 1
    for f = 1, n_facts do
      facts[f] = {ARGV[b], ARGV[b + 1]}
      b = b + 2
    end
  end
  for i = 1, n_ids do ids[i] = {numbers[n], ARGV[b]}; n = n + 1; b = b + 1 end
  for f = 1, n_ids == 0 and 0 or n_facts do
    local fact = {numbers[n], ARGV[b]}
    b = b + 1
    if numbers[n + 1] == 1 then fact[3] = ARGV[b]; b = b + 1 end
    facts[f] = fact
    n = n + 2
  end
  groups[#groups + 1] = {ids, facts, root}
end

if mode == 'commit' then
  local position = call('HGET', P .. 'offsets', partition) or '-1'
  if position ~= before then return {'fenced', position} end
  local changes = tonumber(call('HGET', P .. 'meta', 'changes') or 0)
  if epoch >= 0 and epoch ~= changes then
    local behind = changes - epoch
    if behind < 0 or behind > call('LLEN', P .. 'changes') then return {'changed', changes} end
    return {'changed', changes, call('LRANGE', P .. 'changes', -behind, -1)}
  end
end

local function bucket(kind, id)
  local a, b, c, d = byte(id, 1, 4)
  return P .. kind .. (((a * 256 + b) * 256 + c) * 256 + d) % buckets
end

-- An overlay over the graph: what was read, and what this window changes.
local origins, roots, records = {}, {}, {}
local new_origins, new_roots, new_records = {}, {}, {}

local function origin_of(id)
  local origin = origins[id]
  if origin == nil then
    origin = call('HGET', bucket('i:', id), id)
    if origin == '' then origin = id end
    origins[id] = origin
  end
  return origin
end

local function root_of(origin)
  local root = roots[origin]
  if root == nil then
    root = call('HGET', bucket('o:', origin), origin) or origin
    roots[origin] = root
  end
  return root
end

-- A root's record: the number of member origins (2 bytes), these, then its identifiers as strength (1 byte) + hash.
local function record_of(root)
  local record = records[root]
  if record == nil then
    local packed = call('HGET', bucket('r:', root), root)
    if not packed then return false end
    record = {members = {}, ids = {}, counts = {}}
    local n = byte(packed, 1) * 256 + byte(packed, 2)
    local at = 3
    for i = 1, n do record.members[i] = sub(packed, at, at + ID - 1); at = at + ID end
    while at < #packed do
      local strength = byte(packed, at)
      record.ids[#record.ids + 1] = sub(packed, at, at + ID)
      record.counts[strength] = (record.counts[strength] or 0) + 1
      if strength == 0 then record.user = sub(packed, at + 1, at + ID) end
      at = at + ID + 1
    end
    records[root] = record
  end
  return record
end

local function set_origin(id, origin) origins[id] = origin; new_origins[id] = origin end
local function set_root(origin, root) roots[origin] = root; new_roots[origin] = root end
local function user_of(root) local r = record_of(root); return r and r.user end

local function fits(record, strength) return (record.counts[strength] or 0) < limits[strength + 1] end

local function give(root, strength, id)
  local record = record_of(root)
  record.ids[#record.ids + 1] = char(strength) .. id
  record.counts[strength] = (record.counts[strength] or 0) + 1
  if strength == 0 then record.user = id end
  new_records[root] = record
end

local function take(root, strength, id)
  local record = record_of(root)
  local kept, tagged = {}, char(strength) .. id
  for _, other in ipairs(record.ids) do if other ~= tagged then kept[#kept + 1] = other end end
  if #kept < #record.ids then record.counts[strength] = record.counts[strength] - 1 end
  record.ids = kept
  new_records[root] = record
end

local function following(id)  -- the next free origin after one that is taken
  local bytes = {byte(id, 1, ID)}
  for i = ID, 1, -1 do
    bytes[i] = (bytes[i] + 1) % 256
    if bytes[i] ~= 0 then break end
  end
  return char(unpack(bytes))
end

local function found(id)
  while records[id] or roots[id] and roots[id] ~= id or call('HEXISTS', bucket('r:', id), id) == 1
    or call('HEXISTS', bucket('o:', id), id) == 1 do id = following(id) end
  records[id] = {members = {id}, ids = {}, counts = {}}
  new_records[id] = records[id]
  roots[id] = id
  return id
end

local created, attached, united, moved, refused = 0, 0, 0, 0, 0
local retired, lent, changed = {}, {}, {}

-- The customer with a user id survives, else the smaller id. Answers the survivor, or nil where a limit forbids it.
local function unite(a, b)
  local ra, rb = record_of(a), record_of(b)
  for strength, n in pairs(rb.counts) do
    if n > 0 and n + (ra.counts[strength] or 0) > limits[strength + 1] then refused = refused + 1; return nil end
  end
  if rb.user and not ra.user or (not rb.user == not ra.user and b < a) then a, b, ra, rb = b, a, rb, ra end
  retired[#retired + 1] = {b, a, rb.members}
  changed[#changed + 1] = 'r' .. b
  for _, member in ipairs(rb.members) do ra.members[#ra.members + 1] = member; set_root(member, a) end
  for _, tagged in ipairs(rb.ids) do ra.ids[#ra.ids + 1] = tagged end
  for strength, n in pairs(rb.counts) do ra.counts[strength] = (ra.counts[strength] or 0) + n end
  ra.user = ra.user or rb.user
  records[b], new_records[b], new_records[a] = false, false, ra
  united = united + 1
  return a
end

local routes = {}  -- for each group: for each fact: its origin

for g, group in ipairs(groups) do
  local ids, facts = group[1], group[2]
  local known, same, first = 0, true, nil
  for i = 1, #ids do
    local origin = origin_of(ids[i][2])
    if origin then
      known = known + 1
      local root = root_of(origin)
      if first == nil then first = root elseif first ~= root then same = false end
    end
  end

  local home = nil  -- the origin that newcomers of this group are attached to
  if known < #ids or not same then
    local user = ids[1][1] == 0 and ids[1][2] or nil
    local winner, strangers, movers = nil, {}, {}
    for i = 1, #ids do
      local id = ids[i][2]
      local origin = origin_of(id)
      if not origin then
        strangers[#strangers + 1] = ids[i]
      else
        local root = root_of(origin)
        local theirs = (user or winner) and root ~= winner and user_of(root)
        local ours = user or (winner and root ~= winner and user_of(winner)) or nil
        if winner == root then
          home = home or origin
        elseif theirs and ours and theirs ~= ours then
          movers[#movers + 1] = ids[i]
        elseif winner == nil then
          winner, home = root, origin
        else
          winner = unite(winner, root) or winner
        end
      end
    end
    local fresh = winner == nil
    if fresh then
      home = found(ids[1][2])
      winner = home
      created = created + 1
    end
    for _, id in ipairs(strangers) do
      if fits(record_of(winner), id[1]) then
        set_origin(id[2], home)
        give(winner, id[1], id[2])
        if not fresh then attached = attached + 1 end
      else
        refused = refused + 1
      end
    end
    for _, id in ipairs(movers) do
      if fits(record_of(winner), id[1]) then
        local before = origin_of(id[2])
        lent[#lent + 1] = {root_of(before), winner, id[2], before}
        changed[#changed + 1] = 'i' .. id[2]
        take(root_of(before), id[1], id[2])
        set_origin(id[2], home)
        give(winner, id[1], id[2])
        moved = moved + 1
      else
        refused = refused + 1
      end
    end
  end

  local landed = {}
  for f, fact in ipairs(facts) do
    local origin, root = fact[1], group[3]
    if root then  -- the worker knows; only an earlier group of this window can have changed it
      root = roots[origin] or root
    else
      origin = origin_of(ids[fact[1] + 1][2]) or home or origin_of(ids[1][2])
      if mode == 'commit' and fact[3] and fact[3] ~= origin then return {'stale'} end
      root = root_of(origin)
    end
    landed[f] = {origin, root}
  end
  routes[g] = landed
end

if mode == 'plan' then
  local answer = {}
  for g, landed in ipairs(routes) do
    for _, route in ipairs(landed) do answer[#answer + 1] = route[1] end
  end
  return {'plan', table.concat(answer)}
end

-- From here on everything is decided: what remains are the check for room, and the writes.
local bodies, touched = {}, {}
local function shard_of(root) local a, b = byte(root, 1, 2); return (a * 256 + b) % shards end
local function touch(shard)
  if not bodies[shard] then bodies[shard] = {}; touched[#touched + 1] = shard end
  return bodies[shard]
end

for g, landed in ipairs(routes) do
  local facts = groups[g][2]
  for f, route in ipairs(landed) do
    local payload = facts[f][2]
    local body = touch(shard_of(route[2]))
    body[#body + 1] = route[2]
    body[#body + 1] = route[1]
    body[#body + 1] = struct.pack('>I4', #payload)
    body[#body + 1] = payload
  end
end
for _, union in ipairs(retired) do touch(shard_of(union[1])); touch(shard_of(union[2])) end
for _, loan in ipairs(lent) do touch(shard_of(loan[1])); touch(shard_of(loan[2])) end
for _, shard in ipairs(touched) do
  if call('XLEN', P .. 'log:' .. shard) >= log_max then return {'full', shard} end
end
if journal_max > 0 and call('XLEN', P .. 'journal') >= journal_max then return {'full', 'journal'} end

local function bin(id) return char(0xc4, ID) .. id end  -- msgpack, which Redis' own cannot write: a byte string ...
local function bins(ids)  -- ... and a list of them
  local parts = {#ids < 16 and char(0x90 + #ids) or char(0xdc, math.floor(#ids / 256), #ids % 256)}
  for i, id in ipairs(ids) do parts[i + 1] = bin(id) end
  return table.concat(parts)
end

local heads = {}
local function append(shard, kind, body)
  local seq = heads[shard] + 1
  heads[shard] = seq
  call('XADD', P .. 'log:' .. shard, string.format('%.0f-0', seq), kind, body)
end
if #touched > 0 then
  local found_heads = call('HMGET', P .. 'heads', unpack(touched))
  for i, shard in ipairs(touched) do heads[shard] = tonumber(found_heads[i] or 0) end
  -- What is expected stands before the facts that have to wait for it, what is handed over behind all facts.
  for _, union in ipairs(retired) do append(shard_of(union[2]), 'x', char(0x92) .. bin(union[2]) .. bins(union[3])) end
  for _, loan in ipairs(lent) do append(shard_of(loan[2]), 'x', char(0x93) .. bin(loan[2]) .. char(0x90) .. bin(loan[3])) end
  for _, shard in ipairs(touched) do
    if #bodies[shard] > 0 then append(shard, 'e', table.concat(bodies[shard])) end
  end
  local came = {}  -- which expectations of this window are younger than a debt
  for i = #lent, 1, -1 do
    local loan = lent[i]
    loan[5] = came[loan[1] .. loan[3]] or 0
    came[loan[2] .. loan[3]] = (came[loan[2] .. loan[3]] or 0) + 1
  end
  for _, loan in ipairs(lent) do
    append(shard_of(loan[1]), 'l', char(0x95) .. bin(loan[1]) .. bin(loan[2]) .. bin(loan[3]) .. bin(loan[4]) .. cmsgpack.pack(loan[5]))
  end
  for _, union in ipairs(retired) do
    append(shard_of(union[1]), 'r', char(0x93) .. bin(union[1]) .. bin(union[2]) .. bins(union[3]))
  end
  local args = {}
  for _, shard in ipairs(touched) do
    args[#args + 1] = shard
    args[#args + 1] = string.format('%.0f', heads[shard])
  end
  call('HSET', P .. 'heads', unpack(args))
end

for id, origin in pairs(new_origins) do call('HSET', bucket('i:', id), id, origin == id and '' or origin) end
for origin, root in pairs(new_roots) do call('HSET', bucket('o:', origin), origin, root) end
for root, record in pairs(new_records) do
  if record and records[root] then
    local n = #record.members
    local head = char(math.floor(n / 256), n % 256)
    call('HSET', bucket('r:', root), root, head .. table.concat(record.members) .. table.concat(record.ids))
  else
    call('HDEL', bucket('r:', root), root)
  end
end

for i = b, b + letters - 1 do call('XADD', P .. 'dead', 'MAXLEN', '~', dead_max, '*', 'b', ARGV[i]) end
local stats = {created = created, attached = attached, united = united, moved = moved, refused = refused}
for reason, n in pairs(rejected) do stats['rejected:' .. reason] = n end
local events = 0
for _, group in ipairs(groups) do events = events + #group[2] end
stats.events = events
for name, n in pairs(stats) do if n > 0 then call('HINCRBY', P .. 'stats', name, n) end end

local journal = call('HINCRBY', P .. 'meta', 'journal', 1)
local entry, note = string.format('%.0f-0', journal), cmsgpack.pack({partition, before, after})
if journal_max > 0 then
  call('XADD', P .. 'journal', entry, 'w', note, 'content', ARGV[b + letters])
else
  call('XADD', P .. 'journal', 'MAXLEN', '~', 100000, entry, 'w', note)
end
call('HSET', P .. 'offsets', partition, after)

local told = {}
for _, group in ipairs(groups) do
  for _, id in ipairs(group[1]) do
    local origin = origins[id[2]]
    told[#told + 1] = origin and origin .. root_of(origin) or string.rep('\0', 2 * ID)
  end
end
local changes = tonumber(call('HGET', P .. 'meta', 'changes') or 0)
if #changed > 0 then
  changes = call('HINCRBY', P .. 'meta', 'changes', #changed)
  call('RPUSH', P .. 'changes', unpack(changed))
  call('LTRIM', P .. 'changes', -10000, -1)
end
return {'ok', created, attached, united, moved, refused, journal, table.concat(told), changes, changed}
