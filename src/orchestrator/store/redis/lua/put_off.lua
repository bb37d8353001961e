-- id, epoch and session, adopted, how long: it goes back as it was, due then
local n = guard()
if n < 0 then return { n } end
local id = ARGV[4]
local k, owner = find(id)
if k and owner == ARGV[5] then
  local session = session_of(owner)
  C('HSET', k, '_owner', (ARGV[6] == '1' and '!' or '-') .. owner)
  C('ZREM', P .. 'bellrock:owned:' .. session, id)
  C('SREM', P .. 'bellrock:mail:' .. session, id)
  make_due(id, now() + ARGV[7])
  settle()
end
return { n }
