-- session: one step; 1 = there is more. Past its lease first, so that whatever is left by a caller that stops half way is adopted.
local n = guard()
if n < 0 then return { n } end
local session, t = ARGV[4], now()
local owned = P .. 'bellrock:owned:' .. session
if C('ZSCORE', SESSIONS, session) then C('ZADD', SESSIONS, 0, session) end
local ids = C('ZRANGE', owned, 0, 199)
for _, id in ipairs(ids) do
  local k, owner = find(id)
  if k and session_of(owner) == session then
    C('HSET', k, '_owner', '!' .. owner)
    C('ZADD', DUE, t, id)
  end
  C('ZREM', owned, id)
end
if #ids > 0 then C('PUBLISH', P .. 'bellrock:news', '') end
if #ids == 200 then return { n, 1 } end
C('ZREM', SESSIONS, session)
C('DEL', P .. 'bellrock:mail:' .. session, P .. 'bellrock:since:' .. session)
leave_instance(session)
local roles = C('HGETALL', P .. 'bellrock:roles')
for i = 1, #roles, 2 do
  if string.match(roles[i + 1], '^%d+ (.*)$') == session then C('HDEL', P .. 'bellrock:roles', roles[i]) end
end
return { n, 0 }
