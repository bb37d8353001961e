-- session, max
local n = guard()
if n < 0 then return { n } end
local session, max, t = ARGV[4], tonumber(ARGV[5]), now()
local taken = {}
if not is_live(session, t) then return { n, taken } end
for _, dead in ipairs(C('ZRANGEBYSCORE', SESSIONS, '-inf', t, 'LIMIT', 0, 16)) do
  local owned = P .. 'bellrock:owned:' .. dead
  for _, id in ipairs(#taken < max and C('ZRANGE', owned, 0, max - #taken - 1) or {}) do
    local k, owner, kind = find(id)
    if k and session_of(owner) == dead then
      taken[#taken + 1] = take(id, k, owner, kind, session)
    else
      C('ZREM', owned, id)
    end
  end
  carry_out()
  if C('EXISTS', owned) == 0 then
    C('ZREM', SESSIONS, dead)
    C('DEL', P .. 'bellrock:mail:' .. dead)
  end
end
while #taken < max do
  local ids = C('ZRANGEBYSCORE', DUE, '-inf', t, 'LIMIT', 0, max - #taken)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local k, owner, kind = find(id)
    if k and not session_of(owner) and string.sub(owner, 1, 1) ~= '.' then
      taken[#taken + 1] = take(id, k, owner, kind, session)
    else
      C('ZREM', DUE, id)
    end
  end
  carry_out()
end
return { n, taken }
