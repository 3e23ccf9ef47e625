-- Second part: the graph as this window sees it, what may be united, and what is to be taken apart.
-- `state/graph.py` is its twin: the same decisions in the same order.

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

-- A root's record: the number of member origins (2 bytes), these, then its identifiers as strength (1 byte) + hash. What is the
-- root's own id is left out (records.py).
local ITSELF = 128
local function record_of(root)
  local record = records[root]
  if record == nil then
    local packed = call('HGET', bucket('r:', root), root)
    if not packed then return false end
    record = {members = {}, ids = {}, counts = {}}
    local n = byte(packed, 1) * 256 + byte(packed, 2)
    local at = 3
    for i = 1, n do record.members[i] = sub(packed, at, at + ID - 1); at = at + ID end
    if n == 0 then record.members[1] = root end
    while at <= #packed do
      local strength, id = byte(packed, at), root
      if strength < ITSELF then
        id = sub(packed, at + 1, at + ID)
        at = at + ID + 1
      else
        strength = strength - ITSELF
        at = at + 1
      end
      record.ids[#record.ids + 1] = char(strength) .. id
      record.counts[strength] = (record.counts[strength] or 0) + 1
      if strength == 0 then record.user = id end
    end
    records[root] = record
  end
  return record
end

local function pack_record(root, record)
  local n = #record.members
  if n == 1 and record.members[1] == root then n = 0 end
  local parts = {char(floor(n / 256), n % 256)}
  for i = 1, n do parts[i + 1] = record.members[i] end
  for _, tagged in ipairs(record.ids) do
    parts[#parts + 1] = sub(tagged, 2) == root and char(byte(tagged) + ITSELF) or tagged
  end
  return table.concat(parts)
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

local NOBODY = string.rep('\0', ID)
local at_limit, verified, guarded = policy[1], policy[2], policy[3]
local shared_customers, shared_moves, shared_within = policy[4], policy[5], policy[6]
local breaker_unions, breaker_within, budget, ledger_max, reviews_max = policy[7], policy[8], policy[9], policy[10], policy[11]
local matches_max = policy[12]
local REFUSE, OLDEST, REVIEW = 0, 1, 2
local now = floor(time_ms / 1000)

local created, attached, united, moved, refused, divided, suspended = 0, 0, 0, 0, 0, 0, 0
local retired, lent, changed = {}, {}, {}
local ordered, ordering = {}, false  -- what follows from orders, in their order
local unions, new_unions = {}, {}       -- root -> the unions that made it: number in the ledger (6 bytes), two origins each
local aparts, new_aparts = {}, {}       -- origin -> origins that it is never united with, one after the other
local ledger, labels, new_suspended, new_reviews, queued = {}, {}, {}, {}, nil
local rates, moves, users, new_users = {}, {}, {}, {}

-- What is read is remembered, so that this window sees its own changes.
local EDGE = 6 + 2 * ID
local function unions_of(root)
  if unions[root] == nil then unions[root] = call('HGET', bucket('u:', root), root) or '' end
  return unions[root]
end

local function set_unions(root, packed)
  unions[root], new_unions[root] = packed, packed
end

local function edges_of(root)
  local packed, edges = unions_of(root), {}
  for at = 1, #packed, EDGE do
    edges[#edges + 1] = {sub(packed, at, at + 5), sub(packed, at + 6, at + 5 + ID), sub(packed, at + 6 + ID, at + EDGE - 1)}
  end
  return edges
end

local any_apart = nil
local function apart_of(origin)
  if any_apart == nil then any_apart = call('HLEN', P .. 'apart') > 0 end
  local found = aparts[origin]
  if found == nil then
    found = any_apart and call('HGET', P .. 'apart', origin) or ''
    aparts[origin] = found
  end
  return found
end

local function set_apart(origin, others)
  aparts[origin] = others
  new_aparts[origin] = others
end

local function holds(others, origin)
  for at = 1, #others, ID do if sub(others, at, at + ID - 1) == origin then return true end end
  return false
end

local function keep_apart(x, y)
  if not holds(apart_of(x), y) then set_apart(x, apart_of(x) .. y) end
  if not holds(apart_of(y), x) then set_apart(y, apart_of(y) .. x) end
end

local function kept_apart(a, b)
  for _, member in ipairs(record_of(b).members) do
    local others = apart_of(member)
    for at = 1, #others, ID do if root_of(sub(others, at, at + ID - 1)) == a then return true end end
  end
  return false
end

local function is_queue_full()
  if queued == nil then queued = call('HLEN', P .. 'reviews') end
  return queued >= reviews_max
end

local function both_verified(ra, rb)
  local function any(record)
    for strength, n in pairs(record.counts) do if n > 0 and verified[strength + 1] == 1 then return true end end
    return false
  end
  return any(ra) and any(rb)
end

local function may_be_accepted(ra, rb)  -- whether a steward who says yes can make them one
  if both_verified(ra, rb) then return false end
  for s = 0, #limits - 1 do
    local theirs = rb.counts[s] or 0
    if theirs > 0 and theirs + (ra.counts[s] or 0) > limits[s + 1] then
      local lifted = at_limit[s + 1] == OLDEST or at_limit[s + 1] == REVIEW and s > 0
      if not lifted then return false end
    end
  end
  return true
end

local function review(a, b, by, note)
  if not may_be_accepted(record_of(root_of(a)), record_of(root_of(b))) then return end
  if b < a then a, b = b, a end
  local key = a .. b
  if new_reviews[key] == nil and call('HEXISTS', P .. 'reviews', key) == 1 then return end
  if new_reviews[key] or is_queue_full() then return end
  queued = queued + 1
  new_reviews[key] = {by, note}
end

local function settle(x, y)
  for _, a in ipairs(record_of(root_of(x)).members) do
    for _, b in ipairs(record_of(root_of(y)).members) do
      local key = a < b and a .. b or b .. a
      if new_reviews[key] or (new_reviews[key] == nil and call('HEXISTS', P .. 'reviews', key) == 1) then
        if queued == nil then queued = call('HLEN', P .. 'reviews') end
        queued = queued - 1
        new_reviews[key] = false
      end
    end
  end
end

-- Guards.

local function drop_oldest(record, strength, n)
  local kept = {}
  for _, tagged in ipairs(record.ids) do
    if n > 0 and byte(tagged, 1) == strength then
      n = n - 1
      local id = sub(tagged, 2)
      origins[id], new_origins[id] = false, false
      changed[#changed + 1] = 'i' .. id
      record.counts[strength] = record.counts[strength] - 1
      refused = refused + 1
    else
      kept[#kept + 1] = tagged
    end
  end
  record.ids = kept
  if strength == 0 then record.user = nil end
  for _, tagged in ipairs(kept) do if not record.user and byte(tagged, 1) == 0 then record.user = sub(tagged, 2) end end
end

local function make_room(root, strength)
  local record = record_of(root)
  if fits(record, strength) then return true end
  if at_limit[strength + 1] ~= OLDEST then return false end
  drop_oldest(record, strength, 1)
  new_records[root] = record
  return true
end

local function count_in(slots, name, within, key)  -- one more in this slot of time
  local slot = floor(now / within)
  local n = slots[key] or tonumber(call('HGET', P .. name .. slot, key) or 0)
  slots[key] = n + 1
  return n + 1
end

local function is_shared(id, user)
  if guarded[id[1] + 1] ~= 1 then return false end
  local n = count_in(moves, 'moves:', shared_within, id[2])
  local seen = users[id[2]]
  if seen == nil then seen = call('HGET', P .. 'users', id[2]) or '' end
  local short, found = sub(user[2], 1, 4), false
  for at = 1, #seen, 4 do if sub(seen, at, at + 3) == short then found = true end end
  if not found then seen = seen .. short end
  users[id[2]], new_users[id[2]] = seen, seen
  if n < shared_moves and #seen / 4 < shared_customers then return false end
  users[id[2]], new_users[id[2]] = '', ''
  return true
end

local function suspend(id)
  if new_suspended[id] or new_suspended[id] == nil and call('HEXISTS', P .. 'suspended', id) == 1 then return end
  new_suspended[id] = true
  suspended = suspended + 1
  changed[#changed + 1] = 'i' .. id
end

local function trips(root, cause)  -- a customer that grows too fast: what makes it grow is evidence no longer
  if count_in(rates, 'rates:', breaker_within, root) <= breaker_unions then return false end
  suspend(cause)
  return true
end

-- Unions.

-- Each entry of the ledger knows, for each of the four origins that it names, the entry before it that does: so the history of a
-- customer is read backwards without the rest of the ledger. Where it begins lies beside the unions, under 'h' + origin.
local ledger_end, lasts, new_lasts = nil, {}, {}
local function last_of(origin)
  if lasts[origin] == nil then lasts[origin] = call('HGET', bucket('u:', origin), 'h' .. origin) or string.rep('\0', 6) end
  return lasts[origin]
end

local function note(kind, part, survivor, one, other, undone, by, evidence)
  if ledger_end == nil then ledger_end = tonumber(call('HGET', P .. 'meta', 'ledger') or 0) end
  ledger_end = ledger_end + 1
  local named, seq = {part, survivor, one, other}, struct.pack('>I6', ledger_end)
  local before = last_of(part) .. last_of(survivor) .. last_of(one) .. last_of(other)
  for _, origin in ipairs(named) do lasts[origin], new_lasts[origin] = seq, seq end
  ledger[#ledger + 1] = {ledger_end, kind, part, survivor, one .. other, undone, by, evidence, before}
  return ledger_end
end

local function entry_of(seq)  -- of the ledger: {retired, survivor, one, other}, or nil
  for _, entry in ipairs(ledger) do
    if entry[1] == seq then return {entry[3], entry[4], sub(entry[5], 1, ID), sub(entry[5], ID + 1)} end
  end
  local id = string.format('%.0f-0', seq)
  local found = call('XRANGE', P .. 'ledger', id, id)[1]
  if not found then return nil end
  local of = {}
  for i = 1, #found[2], 2 do of[found[2][i]] = found[2][i + 1] end
  return {of.r, of.s, sub(of.o, 1, ID), sub(of.o, ID + 1)}
end

-- Unites the customers of two origins; the one with a user id survives, else the smaller id. Answers the survivor, or nil where
-- a limit or a guard forbids it.
local function unite(x, y, by, evidence, cause, forced)
  local a, b = root_of(x), root_of(y)
  local ra, rb = record_of(a), record_of(b)
  if united >= budget or kept_apart(a, b) or (not forced and both_verified(ra, rb)) then refused = refused + 1; return nil end
  local over, forbidden, ask = {}, false, false
  for s = 0, #limits - 1 do
    local theirs = rb.counts[s] or 0
    local excess = theirs + (ra.counts[s] or 0) - limits[s + 1]
    if theirs > 0 and excess > 0 then
      if at_limit[s + 1] == OLDEST then over[#over + 1] = {s, excess}
      elseif at_limit[s + 1] == REVIEW and s > 0 and by == 'review' then  -- a steward was asked, and said so
      else forbidden = true end
      if at_limit[s + 1] == REVIEW then ask = true end
    end
  end
  if forbidden then
    refused = refused + 1
    if ask then review(a, b, 'limit', evidence) end
    return nil
  end
  if rb.user and not ra.user or (not rb.user == not ra.user and b < a) then a, b, ra, rb = b, a, rb, ra end
  if cause and trips(a, cause) then refused = refused + 1; return nil end
  local seq = note('union', b, a, x, y, 0, by, evidence)
  set_unions(a, unions_of(a) .. unions_of(b) .. struct.pack('>I6', seq) .. x .. y)
  set_unions(b, '')
  local list = ordering and ordered or retired
  list[#list + 1] = {b, a, rb.members, seq, x, y, kind = 'r'}
  changed[#changed + 1] = 'r' .. b
  for _, member in ipairs(rb.members) do ra.members[#ra.members + 1] = member; set_root(member, a) end
  for _, tagged in ipairs(rb.ids) do ra.ids[#ra.ids + 1] = tagged end
  for strength, n in pairs(rb.counts) do ra.counts[strength] = (ra.counts[strength] or 0) + n end
  ra.user = ra.user or rb.user
  for _, excess in ipairs(over) do drop_oldest(ra, excess[1], excess[2]) end
  records[b], new_records[b], new_records[a] = false, false, ra
  united = united + 1
  return a
end

local function move(id, root, home)  -- an identifier changes sides
  local before = origin_of(id[2])
  local list = ordering and ordered or lent
  list[#list + 1] = {root_of(before), root, id[2], before, 0, home or root, kind = 'l'}
  changed[#changed + 1] = 'i' .. id[2]
  take(root_of(before), id[1], id[2])
  set_origin(id[2], home or root)
  give(root, id[1], id[2])
end

-- Orders.

local function neighbours(edges, without)  -- origin -> the edges that it is an end of
  local next_to = {}
  for _, edge in ipairs(edges) do
    if edge[1] ~= without then
      for i = 2, 3 do
        local own = next_to[edge[i]] or {}
        own[#own + 1] = edge
        next_to[edge[i]] = own
      end
    end
  end
  return next_to
end

local function reached(edges, origin, without)  -- the origins that hang together with this one, by all unions but one
  local next_to, found, todo = neighbours(edges, without), {[origin] = true}, {origin}
  while #todo > 0 do
    local at = table.remove(todo)
    for _, edge in ipairs(next_to[at] or {}) do
      local far = edge[2] == at and edge[3] or edge[2]
      if not found[far] then found[far] = true; todo[#todo + 1] = far end
    end
  end
  return found
end

-- The last union on the way from one origin to the other. Unions are a tree, as each joined what was apart: there is one way.
local function joint(root, x, y)
  local next_to, last, todo = neighbours(edges_of(root)), {[x] = '\0\0\0\0\0\0'}, {x}
  while #todo > 0 do
    local at = table.remove(todo)
    for _, edge in ipairs(next_to[at] or {}) do
      local far = edge[2] == at and edge[3] or edge[2]
      if not last[far] then
        last[far] = edge[1] > last[at] and edge[1] or last[at]
        todo[#todo + 1] = far
      end
    end
  end
  return (struct.unpack('>I6', last[y]))
end

-- Who does not hang together with the root without this union is a customer again.
local function undo(seq, by)
  local entry = entry_of(seq)
  if not entry then return false end
  local root, undone = root_of(entry[3]), struct.pack('>I6', seq)
  local edges, stands = edges_of(root), false
  for _, edge in ipairs(edges) do stands = stands or edge[1] == undone end
  if not stands then return false end
  local record, stays = record_of(root), reached(edges, root, undone)
  local own, rest, part = {members = {}, ids = {}, counts = {}}, {members = {}, ids = {}, counts = {}}, nil
  for _, member in ipairs(record.members) do
    local side = stays[member] and rest or own
    side.members[#side.members + 1] = member
    if side == own and (part == nil or member < part) then part = member end
  end
  if not stays[entry[1]] and root_of(entry[1]) == root then part = entry[1]
  elseif not stays[entry[2]] and root_of(entry[2]) == root then part = entry[2] end
  local members = {part}  -- as everywhere: its own first
  for _, member in ipairs(own.members) do if member ~= part then members[#members + 1] = member end end
  own.members = members
  for _, tagged in ipairs(record.ids) do
    local strength, id = byte(tagged, 1), sub(tagged, 2)
    local side = stays[origin_of(id)] and rest or own
    side.ids[#side.ids + 1] = tagged
    side.counts[strength] = (side.counts[strength] or 0) + 1
    if strength == 0 then side.user = side.user or id end
    if side == own then changed[#changed + 1] = 'i' .. id end
  end
  local theirs, ours = {}, {}
  for _, edge in ipairs(edges) do
    local side = stays[edge[2]] and ours or theirs
    if edge[1] ~= undone then side[#side + 1] = edge[1] .. edge[2] .. edge[3] end
  end
  set_unions(root, table.concat(ours))
  set_unions(part, table.concat(theirs))
  records[part], new_records[part], records[root], new_records[root] = own, own, rest, rest
  for _, member in ipairs(own.members) do set_root(member, part) end
  roots[part], new_roots[part] = part, false
  changed[#changed + 1] = 'u' .. part
  keep_apart(entry[3], entry[4])
  note('undo', part, root, entry[3], entry[4], seq, by, '')
  ordered[#ordered + 1] = {root, part, own.members, seq, kind = 's'}
  divided = divided + 1
  return true
end

local function take_out(a, b)  -- the weaker of two identifiers becomes a customer of its own; what it did before stays where it is
  local before, strengths = root_of(origin_of(b)), {}
  local held = record_of(before).ids
  if #held == 1 then return false end
  for _, tagged in ipairs(held) do strengths[sub(tagged, 2)] = byte(tagged, 1) end
  local id = strengths[a] > strengths[b] and a or b
  local root = found(id)
  move({strengths[id], id}, root, nil)
  keep_apart(root, before)
  divided = divided + 1
  return true
end

local function forget_apart(one, other)
  local record = record_of(one)
  if not record then return end
  for _, member in ipairs(record.members) do
    local others, kept = apart_of(member), {}
    for at = 1, #others, ID do
      local origin = sub(others, at, at + ID - 1)
      if root_of(origin) ~= other then kept[#kept + 1] = origin end
    end
    if #kept * ID < #others then set_apart(member, table.concat(kept)) end
  end
end

local function is_origin(origin) return record_of(origin) or root_of(origin) ~= origin end

local function obey(order)
  if order.kind == 'release' then
    new_suspended[order.a] = false
    return true
  end
  if order.kind == 'undo' then return undo((struct.unpack('>I6', sub(order.a, -6))), order.by) end
  local x, y
  if order.origins then
    x, y = is_origin(order.a) and order.a, is_origin(order.b) and order.b
  else
    x, y = origin_of(order.a), origin_of(order.b)
  end
  if not x or not y then return false end
  local a, b = root_of(x), root_of(y)
  if order.by == 'review' and (order.kind == 'link' or order.kind == 'apart') then
    labels[#labels + 1] = x .. y .. (order.kind == 'link' and '1' or '0')  -- before anything is united
  end
  if order.kind == 'link' then
    settle(x, y)
    if order.by ~= 'match' then
      forget_apart(a, b)
      forget_apart(b, a)
    end
    if a ~= b then unite(x, y, order.by, order.note, nil, order.forced) end  -- counts what it refuses itself
  elseif order.kind == 'apart' then
    settle(x, y)
    if a == b then return false end
    keep_apart(x, y)
  elseif order.kind == 'unsure' then
    settle(x, y)
  elseif order.kind == 'review' then
    if a ~= b and not kept_apart(a, b) then review(x, y, order.by, order.note) end
  elseif a ~= b then
    keep_apart(x, y)
  elseif x == y then
    if order.origins then return false end
    return take_out(order.a, order.b)
  else
    return undo(joint(a, x, y), order.by)
  end
  return true
end
