-- Third part: what stewards, apps and matching order about identities. `state/directory/graph.py` is its twin.

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
  local record, stays = existing(root), reached(edges, root, undone)
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
  changed[#changed + 1] = 'c' .. root
  keep_apart(entry[3], entry[4])
  note('undo', part, root, entry[3], entry[4], seq, by, '')
  ordered[#ordered + 1] = {root, part, own.members, seq, kind = 's'}
  divided = divided + 1
  return true
end

local function take_out(a, b)  -- the weaker of two identifiers becomes a customer of its own; what it did before stays where it is
  local before, strengths = root_of(origin_of(b)), {}
  local held = existing(before).ids
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

local function is_origin(origin) return (record_of(origin) or root_of(origin) ~= origin) and not mark_of(origin) end

-- Erasure.

local forgotten = {}  -- entries of the ledger that go: number -> the origins that they name and the entries before, without the erased

local function without(others, gone)  -- origins, one after the other
  local kept = {}
  for at = 1, #others, ID do
    local origin = sub(others, at, at + ID - 1)
    if not gone[origin] then kept[#kept + 1] = origin end
  end
  return table.concat(kept)
end

local function links_of(seq)  -- of an entry of the ledger: the four origins that it names, and the entries before it that name them
  if forgotten[seq] ~= nil then return forgotten[seq] end
  for _, entry in ipairs(ledger) do if entry[1] == seq then return entry[3] .. entry[4] .. entry[5] .. entry[9] end end
  local id = string.format('%.0f-0', seq)
  local found = call('XRANGE', P .. 'ledger', id, id)[1]
  if not found then return call('HGET', P .. 'skipped', struct.pack('>I6', seq)) end
  local of = {}
  for i = 1, #found[2], 2 do of[found[2][i]] = found[2][i + 1] end
  return of.r .. of.s .. of.o .. (of.h or '')
end

local function unname(gone)  -- drop what the ledger says of these origins; the histories of all others lead past it
  local todo = {}
  for origin in pairs(gone) do
    todo[#todo + 1] = last_of(origin)
    lasts[origin], new_lasts[origin] = string.rep('\0', 6), false
  end
  while #todo > 0 do
    local seq = struct.unpack('>I6', table.remove(todo))
    local links = seq > 0 and links_of(seq)
    local named = links and sub(links, 1, 4 * ID)
    local kept = links and {}
    for i = 0, links and 3 or -1 do
      local origin, at = sub(named, i * ID + 1, (i + 1) * ID), 4 * ID + 6 * i
      if gone[origin] then
        if #links >= at + 6 then todo[#todo + 1] = sub(links, at + 1, at + 6) end
        origin = NOBODY
      end
      kept[i + 1] = origin
    end
    local rest = kept and table.concat(kept)
    if rest and (rest ~= named or forgotten[seq] == nil) then
      forgotten[seq] = rest .. sub(links, 4 * ID + 1)
      for i, entry in ipairs(ledger) do if entry[1] == seq then table.remove(ledger, i); break end end
    end
  end
end

-- Nothing leads to the customer any more: no identifier, no pair, no order. What is on its way to it still arrives; when it has, it is
-- erased. Where it is forced, events that name one of its identifiers are dropped from now on. `note` names its origins as well: those that nobody has never come to be (a rebuild that leaves its events out).
local function detach(order)
  for at = 1, #order.note, ID do
    local origin = sub(order.note, at, at + ID - 1)
    if not mark_of(origin) and not is_origin(origin) then set_mark(origin, 'e') end
  end
  local root = root_of(order.a)
  local record, gone = not mark_of(root) and record_of(root), {}
  if not record then return false end
  for _, member in ipairs(record.members) do gone[member] = true; set_mark(member, 'd') end
  for _, tagged in ipairs(record.ids) do
    local id = sub(tagged, 2)
    origins[id], new_origins[id] = false, false
    alones[id], new_alones[id] = false, false
    users[id], new_users[id] = '', ''
    new_suspended[id] = false
    if order.forced then new_suppressed[id] = true end
    changed[#changed + 1] = 'i' .. id
  end
  set_unions(root, '')
  for member in pairs(gone) do
    local others = apart_of(member)
    for at = 1, #others, ID do
      local other = sub(others, at, at + ID - 1)
      set_apart(other, without(apart_of(other), gone))
    end
    if others ~= '' then set_apart(member, '') end
  end
  local waiting = call('HKEYS', P .. 'reviews')
  for key, pair in pairs(new_reviews) do if pair then waiting[#waiting + 1] = key end end
  for _, key in ipairs(waiting) do
    if new_reviews[key] ~= false and (gone[sub(key, 1, ID)] or gone[sub(key, ID + 1)]) then
      is_queue_full()  -- counts them first
      queued = queued - 1
      new_reviews[key] = false
    end
  end
  unname(gone)
  return true
end

local function erase(order)  -- what is left of who was detached
  local root = root_of(order.a)
  if mark_of(root) ~= 'd' then return false end
  for _, member in ipairs(existing(root).members) do
    set_mark(member, 'e')
    if member ~= root then roots[member], new_roots[member] = member, false end
  end
  records[root], new_records[root] = false, false
  ordered[#ordered + 1] = {root, root, kind = 'z'}
  erased = erased + 1
  return true
end

local function obey(order)
  if order.kind == 'release' then
    new_suspended[order.a] = false
    return true
  end
  if order.kind == 'detach' then return detach(order) end
  if order.kind == 'erase' then return erase(order) end
  if order.kind == 'suppress' or order.kind == 'unsuppress' then
    local was = call('HEXISTS', P .. 'suppressed', order.a) == 1
    local is, wanted = new_suppressed[order.a], order.kind == 'suppress'
    if is == nil then is = was end
    if is == wanted then return false end
    new_suppressed[order.a] = wanted
    if wanted == was then new_suppressed[order.a] = nil end
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
