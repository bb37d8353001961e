-- id, expected version ('' = any), application and name, removed, JSON: the version and the time; or 'conflict' and the version now; or 'taken' and by whom
local n = guard()
if n < 0 then return { n } end
local id, named, removed = ARGV[4], ARGV[6], ARGV[7] == '1'
local versions, names = P .. 'bellrock:definition:' .. id, P .. 'bellrock:definitions:names'
local members, index = P .. 'bellrock:definitions:members', P .. 'bellrock:definitions'
local version = C('LLEN', versions)
if ARGV[5] ~= '' and tonumber(ARGV[5]) ~= version then return { n, 'conflict', version } end
local holder = C('HGET', names, named)
if not removed and holder and holder ~= id then return { n, 'taken', holder } end
local before = C('HGET', members, id)
if before then
  local old = string.sub(before, 1, #before - #id - 1)
  if C('HGET', names, old) == id then C('HDEL', names, old) end
  C('ZREM', index, before)
end
local member, t = named .. '\0' .. id, now()
C('HSET', members, id, member)
if not removed then
  C('HSET', names, named, id)
  C('ZADD', index, 0, member)
end
C('RPUSH', versions, version + 1 .. ' ' .. t .. ' ' .. ARGV[8])
C('HSET', P .. 'bellrock:marks', 'definitions', id .. '@' .. version + 1 .. '/' .. t)
return { n, 'saved', version + 1, t }
