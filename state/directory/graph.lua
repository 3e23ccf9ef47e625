-- Second part: the graph as this window sees it, its guards, and what may be united.
-- `state/directory/graph.py` is its twin: the same decisions in the same order.

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

local function damaged(kind, id)  -- ends the window before anything was written; state/damage.py makes a line of it
  error('DAMAGED ' .. bucket(kind, id) .. ' ' .. string.gsub(id, '.', function(c) return string.format('%02x', byte(c)) end), 0)
end

-- A root's record: the number of member origins (2 bytes), these, then its identifiers as strength (1 byte) + hash. What is the
-- root's own id is left out (records.py).
local ITSELF = 128
local function record_of(root)
  local record = records[root]
  if record == nil then
    local packed = call('HGET', bucket('r:', root), root)
    if not packed then return false end
    if #packed < 2 or #packed < 2 + ID * (byte(packed, 1) * 256 + byte(packed, 2)) then damaged('r:', root) end
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

local function existing(root)
  return record_of(root) or damaged('r:', root)
end

local function give(root, strength, id)
  local record = existing(root)
  record.ids[#record.ids + 1] = char(strength) .. id
  record.counts[strength] = (record.counts[strength] or 0) + 1
  if strength == 0 then record.user = id end
  new_records[root] = record
end

local function take(root, strength, id)
  local record = existing(root)
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

local newborn = {}  -- the customers that this window founds
-- Origins of customers who are being erased (`d`: nothing leads there any more) or were (`e`): no name of theirs is given again.
local marks, new_marks, any_marked = {}, {}, nil
local function mark_of(origin)
  if marks[origin] == nil then
    if any_marked == nil then any_marked = call('HEXISTS', P .. 'meta', 'erased') == 1 end
    marks[origin] = any_marked and call('HGET', bucket('x:', origin), origin)
  end
  return marks[origin]
end

local new_suppressed = {}  -- identifiers whose events are dropped from now on, or no longer

local function set_mark(origin, mark) marks[origin], new_marks[origin] = mark, mark end

local function found(id)
  local taken = not mark_of(id) and record_of(id)  -- by one who once had this identifier; if he still has, we were told otherwise
  for _, tagged in ipairs(taken and taken.ids or {}) do
    if sub(tagged, 2) == id and not origin_of(id) then damaged('i:', id) end
  end
  while mark_of(id) or records[id] or roots[id] and roots[id] ~= id or call('HEXISTS', bucket('r:', id), id) == 1
    or call('HEXISTS', bucket('o:', id), id) == 1 do id = following(id) end
  records[id] = {members = {id}, ids = {}, counts = {}}
  new_records[id] = records[id]
  roots[id] = id
  newborn[id] = true
  return id
end

local NOBODY = string.rep('\0', ID)
local at_limit, verified, guarded = policy[1], policy[2], policy[3]
local shared_customers, shared_moves, shared_within = policy[4], policy[5], policy[6]
local breaker_unions, breaker_within, budget, ledger_max, reviews_max = policy[7], policy[8], policy[9], policy[10], policy[11]
local matches_max = policy[12]
local OLDEST, REVIEW, NEWCOMER = 1, 2, 3
local LEAVE_TOGETHER = 4
local now = floor(time_ms / 1000)

local created, attached, united, moved, refused, divided, suspended, erased = 0, 0, 0, 0, 0, 0, 0, 0
local retired, lent, changed = {}, {}, {}
local left = {}                         -- customers that identifiers have left for others
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
  for _, member in ipairs(existing(b).members) do
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

local function settle(x, y)
  for _, a in ipairs(existing(root_of(x)).members) do
    for _, b in ipairs(existing(root_of(y)).members) do
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

local alones, new_alones = {}, {}
local function is_alone(id)  -- it came with others, and had events to itself since
  if alones[id] == nil then alones[id] = call('HEXISTS', bucket('a:', id), id) == 1 end
  return alones[id]
end

local function is_newcomer(strength, id)  -- it has no event to itself, and is known
  local origin = at_limit[strength + 1] == NEWCOMER and origin_of(id)
  return origin and origin ~= id and not is_alone(id)
end

local function use_alone(ids, facts)  -- in time that it does not leave in this very group
  local used = {}
  for _, fact in ipairs(facts) do
    local id = ids[fact[1] + 1]
    if at_limit[id[1] + 1] == NEWCOMER and (not origin_of(id[2]) and not alones[id[2]] or is_newcomer(id[1], id[2])) then
      alones[id[2]] = true
      used[#used + 1] = id[2]
    end
  end
  return used
end

local function keep_alone(used)
  for _, id in ipairs(used) do
    local origin = origin_of(id)
    alones[id] = origin and origin ~= id or false
    if alones[id] then new_alones[id] = true end
  end
end

-- Who of a namespace may go to make room, the first to go first; of one customer, or of two that are to be one.
local function leaving(strength, ra, rb)
  local at, found, spared = at_limit[strength + 1], {}, {}
  if at ~= OLDEST and at ~= NEWCOMER then return found end
  for _, record in ipairs(at == NEWCOMER and {ra, rb} or {}) do
    for _, member in ipairs(record.members) do spared[member] = true end
  end
  for _, record in ipairs({ra, rb}) do
    for _, tagged in ipairs(record.ids) do
      local id = sub(tagged, 2)
      if byte(tagged, 1) == strength and not spared[id] and (at == OLDEST or not is_alone(id)) then found[#found + 1] = tagged end
    end
  end
  return found
end

-- What two customers together have too much of, as {strength, by how many}; and whether that forbids that they become one: not where
-- enough may leave, nor where a steward was asked, and said yes.
local function excess_of(ra, rb, by)
  local over, forbidden = {}, false
  for s = 0, #limits - 1 do
    local theirs = rb.counts[s] or 0
    local excess = theirs + (ra.counts[s] or 0) - limits[s + 1]
    if theirs > 0 and excess > 0 then
      local asked = at_limit[s + 1] == REVIEW and s > 0 and by == 'review'
      if not asked and #leaving(s, ra, rb) < excess then forbidden = true end
      over[#over + 1] = {s, excess}
    end
  end
  return over, forbidden
end

local function may_be_accepted(ra, rb)  -- whether a steward who says yes can make them one
  local _, forbidden = excess_of(ra, rb, 'review')
  return not forbidden and not both_verified(ra, rb)
end

local function review(a, b, by, note)
  if not may_be_accepted(existing(root_of(a)), existing(root_of(b))) then return end
  if b < a then a, b = b, a end
  local key = a .. b
  if new_reviews[key] == nil and call('HEXISTS', P .. 'reviews', key) == 1 then return end
  if new_reviews[key] or is_queue_full() then return end
  queued = queued + 1
  new_reviews[key] = {by, note}
end

local function drop(root, strength, n)
  local record, kept, gone = existing(root), {}, {}
  for i, tagged in ipairs(leaving(strength, record)) do if i <= n then gone[tagged] = true end end
  for _, tagged in ipairs(record.ids) do
    if gone[tagged] then
      local id = sub(tagged, 2)
      origins[id], new_origins[id] = false, false
      changed[#changed + 1] = 'i' .. id
      record.counts[strength] = record.counts[strength] - 1
      refused = refused + 1
      left[root] = true
    else
      kept[#kept + 1] = tagged
    end
  end
  record.ids = kept
  if strength == 0 then record.user = nil end
  for _, tagged in ipairs(kept) do if not record.user and byte(tagged, 1) == 0 then record.user = sub(tagged, 2) end end
  new_records[root] = record
end

local function has_room(root, strength)
  local record = existing(root)
  return fits(record, strength) or #leaving(strength, record) > 0
end

local function make_room(root, strength)
  if not has_room(root, strength) then return false end
  if not fits(existing(root), strength) then
    drop(root, strength, at_limit[strength + 1] == NEWCOMER and math.max(1, floor(limits[strength + 1] / LEAVE_TOGETHER)) or 1)
  end
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

-- Newcomers that say nothing against whom they came with: clients make up identifiers of shared namespaces as they like. But for one
-- with each address or the like that is new as well: the two are somebody's.
local function made_up_of(strangers, strongest)
  local shared, people, found = {}, 0, {}
  for _, id in ipairs(strangers) do
    if id ~= strongest and guarded[id[1] + 1] == 1 then shared[#shared + 1] = id
    elseif id ~= strongest then people = people + 1 end
  end
  for i = people + 1, #shared do found[shared[i][2]] = true end
  return found
end

local function trips(root, cause)  -- a customer that grows too fast: what makes it grow is evidence no longer
  if count_in(rates, 'rates:', breaker_within, root) <= breaker_unions then return false end
  suspend(cause)
  return true
end

local function grows_too_fast(root, cause, made_up)  -- by newcomers
  if made_up then return count_in(rates, 'rates:', breaker_within, 'n' .. root) > breaker_unions end
  return trips(root, cause)
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
  local ra, rb = existing(a), existing(b)
  if united >= budget or kept_apart(a, b) or (not forced and both_verified(ra, rb)) then refused = refused + 1; return nil end
  local over, forbidden = excess_of(ra, rb, by)
  local ask = false
  for _, pair in ipairs(over) do ask = ask or at_limit[pair[1] + 1] == REVIEW end
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
  changed[#changed + 1] = 'c' .. a
  for _, member in ipairs(rb.members) do ra.members[#ra.members + 1] = member; set_root(member, a) end
  for _, tagged in ipairs(rb.ids) do ra.ids[#ra.ids + 1] = tagged end
  for strength, n in pairs(rb.counts) do ra.counts[strength] = (ra.counts[strength] or 0) + n end
  ra.user = ra.user or rb.user
  left[a] = left[a] or left[b]
  for _, excess in ipairs(over) do drop(a, excess[1], excess[2]) end
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
  if at_limit[id[1] + 1] == NEWCOMER and (home or root) ~= id[2] then  -- another customer has events of its own
    alones[id[2]], new_alones[id[2]] = true, true
  end
  give(root, id[1], id[2])
end
