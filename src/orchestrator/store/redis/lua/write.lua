-- number of writes; each: arguments that follow, id, epoch and session, then what becomes of it: s(et) and the fields, which is all of most writes; or
-- k(eep) p(ark) f(inish), session, due ('' = none), taken, number of field arguments, fields, number of names to remove, names, number of stages
-- (-1 = unchanged), stages, status ('' = the listing did not change), number of notices, number and JSON of each.
-- Answers 1 = written, 0 = fenced, { text } = what went wrong with this one alone.
local n = guard()
if n < 0 then return { n } end
local t
local FACTS = { 'application', 'pipelineConfigId', '_gate', 'endTime', 'buildTime' }

local function one(i, count)
  local id, lease, after = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local k, kind = P .. 'pipeline:' .. id, 'pipeline'
  local held = C('HMGET', k, '_owner', '_write', 'status')
  local owner = held[1]
  if owner ~= lease then
    if not owner then
      k, kind = P .. 'orchestration:' .. id, 'orchestration'
      held = C('HMGET', k, '_owner', '_write', 'status')
      owner = held[1]
    end
    if owner ~= lease then
      return (after == 'p' or after == 'f') and (owner == '-' .. lease or owner == '.' .. lease) and 1 or 0
    end
  end
  -- Fields begin with `_write` and its number.
  local number = after == 's' and ARGV[i + 4] or ARGV[i + 8]
  if tonumber(number) < tonumber(held[2] or 0) then return { 'a later write of this ownership was carried out before' } end
  if after == 's' then
    in_parts('HSET', k, i + 3, count - 3)
    return 1
  end
  local session, due, taken = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local sets = tonumber(ARGV[i + 6])
  local removes_at = i + 7 + sets
  local removes = tonumber(ARGV[removes_at])
  local stages_at = removes_at + 1 + removes
  local stages = tonumber(ARGV[stages_at])
  local status_at = stages_at + 1 + math.max(stages, 0)
  local status, notices = ARGV[status_at], tonumber(ARGV[status_at + 1])
  local facts
  if sets > 0 then in_parts('HSET', k, i + 7, sets) end
  if removes > 0 then in_parts('HDEL', k, removes_at + 1, removes) end
  if stages >= 0 then
    C('DEL', k .. ':stageIndex')
    in_parts('RPUSH', k .. ':stageIndex', stages_at + 1, stages)
  end
  if status ~= '' and ENDS[status] ~= ENDS[held[3] or ''] then
    facts = C('HMGET', k, unpack(FACTS))
    if ENDS[status] then
      each_index(OPEN, kind, facts[1], facts[2], 'ZREM', id)
    else
      each_index(OPEN, kind, facts[1], facts[2], 'ZADD', 0, id)
    end
  end
  if taken == '0' and after == 'k' and notices == 0 then return 1 end
  t = t or now()
  local box, unread = P .. 'bellrock:inbox:' .. id
  if taken ~= '0' then
    C('ZREMRANGEBYSCORE', box, '-inf', taken)
    unread = C('ZCARD', box)
    if unread == 0 then C('SREM', P .. 'bellrock:mail:' .. session, id) end
  end
  if notices > 0 then
    local last = tonumber(C('HGET', k, '_notices') or 0)
    local row = listed(id, k, kind)
    for c = 1, #row do if not row[c] then row[c] = cjson.null end end
    for at = status_at + 2, status_at + 2 * notices, 2 do
      local number = tonumber(ARGV[at])
      if number > last then
        last = number
        local name = id .. ':' .. ARGV[at]
        C('ZADD', P .. 'bellrock:outbox', t, name)
        C('HSET', P .. 'bellrock:outbox:notices', name, cjson.encode(row) .. '\n' .. ARGV[at + 1])
      end
    end
    C('HSET', k, '_notices', last)
  end
  if after == 'k' then return 1 end
  unread = unread or C('ZCARD', box)
  later('ZREM', P .. 'bellrock:owned:' .. session, id)
  if unread > 0 then C('SREM', P .. 'bellrock:mail:' .. session, id) end
  if after == 'p' then
    if unread > 0 then due = t end
    if due ~= '' then make_due(id, due) end
    return 1
  end
  facts = facts or C('HMGET', k, unpack(FACTS))
  leave_gate(id, k, kind, facts[3], facts[1])
  local again = false
  for _, message in ipairs(unread > 0 and C('ZRANGE', box, 0, -1) or {}) do
    if string.match(message, '^%d+(.)') == '!' then again = true else C('ZREM', box, message) end
  end
  if again then
    C('HSET', k, '_owner', '-' .. lease)
    make_due(id, t)
  else
    mark_ended(id, scope_of(facts[1], facts[2]), facts[4] or facts[5] or 0)
  end
  return 1
end

return each_of(n, one)
