-- Fourth part: where each group belongs and each order leads, then the writes.

local routes = {}  -- for each group: for each fact: its origin

for g, group in ipairs(groups) do
  local ids, facts = group[1], group[2]
  local known, same, first = 0, true, nil
  local used = use_alone(ids, #ids > 0 and facts or {})
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
          -- What holds the group together is its strongest, though it may be new and the winner be found by another.
          local evidence = char(ids[1][1]) .. ids[1][2] .. char(ids[i][1]) .. id
          winner = unite(home, origin, 'event', evidence, ids[1][2], false) or winner
        end
      end
    end
    local fresh = winner == nil
    if fresh then
      home = found(ids[1][2])
      winner = home
      created = created + 1
    end
    local growing = not fresh or #strangers > breaker_unions
    local made_up = made_up_of(strangers, ids[1])
    for _, id in ipairs(strangers) do
      local room = has_room(winner, id[1])
      if room and growing and id ~= ids[1] and grows_too_fast(winner, ids[1][2], made_up[id[2]]) then
        refused = refused + 1
      elseif room then
        make_room(winner, id[1])
        set_origin(id[2], home)
        give(winner, id[1], id[2])
        if not fresh then attached = attached + 1 end
      else
        refused = refused + 1
        if at_limit[id[1] + 1] == REVIEW and not is_queue_full() then  -- a customer of its own, until a steward has said whose it is
          local own = found(id[2])
          set_origin(id[2], own)
          give(own, id[1], id[2])
          review(winner, own, 'limit', char(ids[1][1]) .. ids[1][2] .. char(id[1]) .. id[2])
          created = created + 1
        end
      end
    end
    for _, id in ipairs(movers) do
      if origin_of(id[2]) and is_shared(id, ids[1]) then
        suspend(id[2])
        move(id, found(id[2]), nil)
      elseif origin_of(id[2]) and make_room(winner, id[1]) then
        move(id, winner, home)
        moved = moved + 1
      else
        refused = refused + 1
      end
    end
  end

  keep_alone(used)
  local landed = {}
  for f, fact in ipairs(facts) do
    local origin, root = fact[1], group[3]
    if root then  -- the worker knows; only an earlier group of this window can have changed it
      root = roots[origin] or root
      if left[root] then return {'unsure'} end
    else
      origin = origin_of(ids[fact[1] + 1][2]) or home or origin_of(ids[1][2])
      if mode == 'commit' and fact[3] and fact[3] ~= origin then return {'stale'} end
      root = root_of(origin)
    end
    landed[f] = {origin, root}
  end
  routes[g] = landed
end

-- What each customer has said must be what the window was judged by (schemas/records/consents.py: a record begins with a mark of it).
local MARK = 8
local function words_of(root)
  local record, words = record_of(root), {}
  for _, member in ipairs(record and record.members or {root}) do
    local said = call('HGET', bucket('c:', member), member)
    if said then words[#words + 1] = {member, said} end
  end
  return words
end
for _, looked in ipairs(mode == 'commit' and looked_at or {}) do
  local marks = {}
  local root = root_of(looked[1])
  for i, said in ipairs(words_of(root)) do marks[i] = sub(said[2], 1, MARK) end
  marks = table.concat(marks)
  if looked[2] ~= marks then  -- where something is said, who is one customer must not have changed either
    local record = record_of(root)
    if looked[2] ~= marks .. (record and table.concat(record.members) or root) then return {'stale'} end
  end
end

-- Where a detachment names an entry, nothing may lie behind it in the log of the customer's shard: it might be about the customer.
for _, order in ipairs(mode == 'commit' and orders or {}) do
  if order.kind == 'detach' and order.b ~= '' then
    local root = root_of(order.a)
    local head = call('HGET', P .. 'heads', (byte(root, 1) * 256 + byte(root, 2)) % shards) or 0
    if tonumber(head) ~= (struct.unpack('>I6', sub(order.b, -6))) then return {'stale'} end
  end
end

ordering = true
for _, order in ipairs(mode == 'commit' and orders or {}) do
  if not obey(order) then refused = refused + 1 end
end

if mode ~= 'commit' then
  local landing, customers, standings, seen = {}, {}, {}, {}
  for g, landed in ipairs(routes) do
    for _, route in ipairs(landed) do
      landing[#landing + 1] = route[1]
      if mode == 'survey' then
        local root = root_of(route[1])
        customers[#customers + 1] = root
        if not seen[root] then
          seen[root] = true
          local record, flat = record_of(root), {}
          for _, said in ipairs(words_of(root)) do flat[#flat + 1] = said[1]; flat[#flat + 1] = said[2] end
          standings[#standings + 1] = {root, record and table.concat(record.members) or root, flat}
        end
      end
    end
  end
  return {mode, table.concat(landing), table.concat(customers), standings}
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
    if payload ~= '' then  -- else only where it would land was of interest: its customer does not allow it
      local body = touch(shard_of(route[2]))
      body[#body + 1] = route[2]
      body[#body + 1] = route[1]
      body[#body + 1] = struct.pack('>I4', #payload)
      body[#body + 1] = payload
    end
  end
end
for _, list in ipairs({retired, lent, ordered}) do
  for _, change in ipairs(list) do touch(shard_of(change[1])); touch(shard_of(change[2])) end
end
for _, shard in ipairs(touched) do
  if call('XLEN', P .. 'log:' .. shard) >= log_max then return {'full', shard} end
end
if journal_max > 0 and call('XLEN', P .. 'journal') >= journal_max then return {'full', 'journal'} end

local function bin(id) return char(0xc4, ID) .. id end  -- msgpack, which Redis' own cannot write: a byte string ...
local function bins(ids)  -- ... and a list of them
  local parts = {#ids < 16 and char(0x90 + #ids) or char(0xdc, floor(#ids / 256), #ids % 256)}
  for i, id in ipairs(ids) do parts[i + 1] = bin(id) end
  return table.concat(parts)
end

local heads = {}
local function append(shard, kind, body)
  local seq = heads[shard] + 1
  heads[shard] = seq
  call('XADD', P .. 'log:' .. shard, string.format('%.0f-0', seq), kind, body)
end
local function expect(change)  -- whoever is to be given something hears of it first
  local what = change.kind == 'l' and char(0x94) .. bin(change[2]) .. char(0x90) .. bin(change[3]) .. bin(change[6]) or
    char(0x92) .. bin(change[2]) .. bins(change[3])
  append(shard_of(change[2]), 'x', what)
end
local function give_over(change)
  local what
  if change.kind == 'z' then
    what = char(0x91) .. bin(change[1])
  elseif change.kind == 'r' then
    what = char(0x96) .. bin(change[1]) .. bin(change[2]) .. bins(change[3]) .. cmsgpack.pack(change[4]) .. bin(change[5]) .. bin(change[6])
  elseif change.kind == 'l' then
    what = char(0x96) .. bin(change[1]) .. bin(change[2]) .. bin(change[3]) .. bin(change[4]) .. cmsgpack.pack(change[5]) .. bin(change[6])
  else
    what = char(0x94) .. bin(change[1]) .. bin(change[2]) .. bins(change[3]) .. cmsgpack.pack(change[4])
  end
  append(shard_of(change[1]), change.kind, what)
end
if #touched > 0 then
  local found_heads = call('HMGET', P .. 'heads', unpack(touched))
  for i, shard in ipairs(touched) do heads[shard] = tonumber(found_heads[i] or 0) end
  -- What is expected stands before the facts that have to wait for it, what is handed over behind all facts.
  for _, union in ipairs(retired) do expect(union) end
  for _, loan in ipairs(lent) do expect(loan) end
  for _, shard in ipairs(touched) do
    if #bodies[shard] > 0 then append(shard, 'e', table.concat(bodies[shard])) end
  end
  local came = {}  -- which expectations of this window are younger than a debt
  for i = #lent, 1, -1 do
    local loan = lent[i]
    loan[5] = came[loan[1] .. loan[3]] or 0
    came[loan[2] .. loan[3]] = (came[loan[2] .. loan[3]] or 0) + 1
  end
  for _, loan in ipairs(lent) do give_over(loan) end
  for _, union in ipairs(retired) do give_over(union) end
  for _, change in ipairs(ordered) do
    if change.kind ~= 'z' then expect(change) end
    give_over(change)
  end
  local args = {}
  for _, shard in ipairs(touched) do
    args[#args + 1] = shard
    args[#args + 1] = string.format('%.0f', heads[shard])
  end
  call('HSET', P .. 'heads', unpack(args))
end

for id, origin in pairs(new_origins) do
  if origin then call('HSET', bucket('i:', id), id, origin == id and '' or origin) else call('HDEL', bucket('i:', id), id) end
end
for origin, root in pairs(new_roots) do
  if root then call('HSET', bucket('o:', origin), origin, root) else call('HDEL', bucket('o:', origin), origin) end
end
for id, is in pairs(new_alones) do
  if is then call('HSET', bucket('a:', id), id, '') else call('HDEL', bucket('a:', id), id) end
end
for origin, mark in pairs(new_marks) do
  call('HSET', bucket('x:', origin), origin, mark)
  if mark == 'e' then call('HDEL', bucket('c:', origin), origin) end
end
for id, is in pairs(new_suppressed) do
  if is then call('HSET', P .. 'suppressed', id, now) else call('HDEL', P .. 'suppressed', id) end
end
if next(new_marks) or next(new_suppressed) then call('HINCRBY', P .. 'meta', 'erased', 1) end
for root, packed in pairs(new_unions) do
  if packed == '' then call('HDEL', bucket('u:', root), root) else call('HSET', bucket('u:', root), root, packed) end
end
for origin, seq in pairs(new_lasts) do
  if seq then call('HSET', bucket('u:', origin), 'h' .. origin, seq) else call('HDEL', bucket('u:', origin), 'h' .. origin) end
end
for seq, links in pairs(forgotten) do
  call('XDEL', P .. 'ledger', string.format('%.0f-0', seq))
  if sub(links, 1, 4 * ID) == string.rep(NOBODY, 4) then
    call('HDEL', P .. 'skipped', struct.pack('>I6', seq))
  else
    call('HSET', P .. 'skipped', struct.pack('>I6', seq), links)
  end
end
for origin, others in pairs(new_aparts) do
  if others == '' then call('HDEL', P .. 'apart', origin) else call('HSET', P .. 'apart', origin, others) end
end
for id, is in pairs(new_suspended) do
  if is then call('HSET', P .. 'suspended', id, now) else call('HDEL', P .. 'suspended', id) end
end
for key, pair in pairs(new_reviews) do
  if pair then
    call('HSET', P .. 'reviews', key, struct.pack('>I8', time_ms) .. char(#pair[1]) .. pair[1] .. pair[2])
  else
    call('HDEL', P .. 'reviews', key)
  end
end
for id, seen in pairs(new_users) do
  if seen == '' then call('HDEL', P .. 'users', id) else call('HSET', P .. 'users', id, seen) end
end
for name, slots in pairs({['rates:'] = {rates, breaker_within}, ['moves:'] = {moves, shared_within}}) do
  local key = P .. name .. floor(now / slots[2])
  for member, n in pairs(slots[1]) do call('HSET', key, member, n) end
  if next(slots[1]) then call('EXPIRE', key, 2 * slots[2]) end
end
for _, entry in ipairs(ledger) do
  call('XADD', P .. 'ledger', 'MAXLEN', '~', ledger_max, string.format('%.0f-0', entry[1]), 'k', entry[2], 'r', entry[3], 's', entry[4],
    'o', entry[5], 'n', string.format('%.0f', entry[6]), 'b', entry[7], 'e', entry[8], 't', string.format('%.0f', time_ms), 'p', partition, 'a', after,
    'h', entry[9])
end
if ledger_end then call('HSET', P .. 'meta', 'ledger', string.format('%.0f', ledger_end)) end
for root, record in pairs(new_records) do
  if record and records[root] then
    call('HSET', bucket('r:', root), root, pack_record(root, record))
  else
    call('HDEL', bucket('r:', root), root)
  end
end

if letters > 0 then  -- field `s` of a letter: bytes of all letters ever, up to and with it
  local bytes = tonumber(call('HGET', P .. 'meta', 'dead_bytes') or 0)
  for i = b, b + letters - 1 do
    bytes = bytes + #ARGV[i]
    call('XADD', P .. 'dead', 'MAXLEN', '~', dead_max, '*', 'b', ARGV[i], 's', string.format('%.0f', bytes))
  end
  call('HSET', P .. 'meta', 'dead_bytes', string.format('%.0f', bytes))
  local oldest = call('XRANGE', P .. 'dead', '-', '+', 'COUNT', 1)[1]
  while oldest and bytes - tonumber(oldest[2][4] or 0) + #oldest[2][2] > dead_bytes do
    call('XDEL', P .. 'dead', oldest[1])
    oldest = call('XRANGE', P .. 'dead', '-', '+', 'COUNT', 1)[1]
  end
end
local stats = {created = created, attached = attached, united = united, moved = moved, refused = refused, divided = divided, suspended = suspended,
  erased = erased}
for reason, n in pairs(rejected) do stats['rejected:' .. reason] = n end
local events = 0
for _, group in ipairs(groups) do
  for _, fact in ipairs(group[2]) do if fact[2] ~= '' then events = events + 1 end end
end
stats.events = events
for name, n in pairs(stats) do if n > 0 then call('HINCRBY', P .. 'stats', name, n) end end

local said = {}  -- what matching is to hear of: records, and what stewards decided
for g, landed in ipairs(routes) do
  for f, route in ipairs(landed) do
    local record = groups[g][2][f][4]
    if record then
      said[#said + 1] = route[1]
      said[#said + 1] = struct.pack('>I4', #record)
      said[#said + 1] = record
    end
  end
end
for _, kind in ipairs({'r', 'd'}) do
  local parts = kind == 'r' and said or labels
  if #parts > 0 and matches_max > 0 then
    local seq = string.format('%.0f-0', call('HINCRBY', P .. 'meta', 'matches', 1))
    call('XADD', P .. 'matches', 'MAXLEN', '~', matches_max, seq, kind, table.concat(parts), 't', string.format('%.0f', time_ms))
  end
end
if partition == 'match' then call('XTRIM', P .. 'matches', 'MINID', string.format('%.0f-0', tonumber(after) + 1)) end  -- its own log, as far as it is read
for _, put in ipairs(puts) do
  if put[1] == 'c' then
    call('HSET', P .. 'meta', 'consents', 1)
    local root = root_of(put[2])
    if not newborn[root] then changed[#changed + 1] = 'c' .. root end  -- nobody else knows a customer of this window
  end
  local key = put[1] == 'matcher' and P .. 'matcher' or bucket(put[1] .. ':', put[2])
  if put[3] then call('HSET', key, put[2], put[3]) else call('HDEL', key, put[2]) end
end

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
    local newcomer = is_newcomer(id[1], id[2])
    told[#told + 1] = origin and origin .. root_of(origin) .. (newcomer and '\1' or '\0') or string.rep('\0', 2 * ID + 1)
  end
end
local changes = tonumber(call('HGET', P .. 'meta', 'changes') or 0)
if #changed > 0 then
  changes = call('HINCRBY', P .. 'meta', 'changes', #changed)
  call('RPUSH', P .. 'changes', unpack(changed))
  call('LTRIM', P .. 'changes', -10000, -1)
end
return {'ok', created, attached, united, moved, refused, journal, table.concat(told), changes, changed, divided, suspended, erased}
