-- session ('' = tell the sessions)
if ARGV[4] == '' then return { 0, C('ZRANGE', SESSIONS, 0, -1) } end
local owned, rows = P .. 'bellrock:owned:' .. ARGV[4], {}
for _, id in ipairs(C('ZRANGE', owned, 0, 999)) do
  local k, _, kind = find(id)
  if k then rows[#rows + 1] = listed(id, k, kind) end
end
return { 0, is_live(ARGV[4], now()) and 0 or 1, C('ZCARD', owned), rows }
