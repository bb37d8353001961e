-- 'id' id first last | 'name' application-and-name: versions
local id = ARGV[5]
if ARGV[4] == 'name' then
  id = C('HGET', P .. 'bellrock:definitions:names', id)
  if not id then return { 0, {} } end
end
return { 0, C('LRANGE', P .. 'bellrock:definition:' .. id, ARGV[6], ARGV[7]) }
