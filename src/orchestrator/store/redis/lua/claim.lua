-- session, max: 1 = there is more, what was taken, its bytes
local n = guard()
if n < 0 then return { n } end
-- What one step reads of records: some milliseconds of the server.
local BYTES = 4194304
local session, max, t = ARGV[4], tonumber(ARGV[5]), now()
local taken, bytes = {}, 0
if not is_live(session, t) then return { n, 0, taken, 0 } end

local function room() return #taken < max and bytes < BYTES end

local function take_up(id, k, owner, kind)
  local row = take(id, k, owner, kind, session)
  bytes = bytes + #row[5]
  taken[#taken + 1] = row
end

-- 0 is the end of one that said itself that it is gone.
local gone = C('ZRANGEBYSCORE', SESSIONS, '-inf', 0, 'LIMIT', 0, 16)
for _, dead in ipairs(C('ZRANGEBYSCORE', SESSIONS, heard_since(session, t), t, 'LIMIT', 0, 16)) do gone[#gone + 1] = dead end
for _, dead in ipairs(gone) do
  local owned = P .. 'bellrock:owned:' .. dead
  for _, id in ipairs(room() and C('ZRANGE', owned, 0, max - #taken - 1) or {}) do
    if not room() then break end
    local k, owner, kind = find(id)
    if k and session_of(owner) == dead then
      take_up(id, k, owner, kind)
    else
      C('ZREM', owned, id)
    end
  end
  carry_out()
  if C('EXISTS', owned) == 0 then
    C('ZREM', SESSIONS, dead)
    C('DEL', P .. 'bellrock:mail:' .. dead)
    leave_instance(dead)
  end
end
while room() do
  local ids = C('ZRANGEBYSCORE', DUE, '-inf', t, 'LIMIT', 0, max - #taken)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    if not room() then break end
    local k, owner, kind = find(id)
    if k and not session_of(owner) and string.sub(owner, 1, 1) ~= '.' then
      take_up(id, k, owner, kind)
    else
      C('ZREM', DUE, id)
    end
  end
  carry_out()
end
return { n, bytes >= BYTES and 1 or 0, taken, bytes }
