-- application and its end ('' = all), after this id ('' = from the first), limit: the id to go on after ('' = the end), newest versions
local members = P .. 'bellrock:definitions:members'
local from, to = '-', '+'
if ARGV[4] ~= '' then from, to = '[' .. ARGV[4], '(' .. ARGV[5] end
if ARGV[6] ~= '' then
  local after = C('HGET', members, ARGV[6])
  if not after then return { 0, '', {} } end
  if ARGV[4] == '' or after >= ARGV[4] then from = '(' .. after end
end
local found, id = {}
for i, member in ipairs(C('ZRANGEBYLEX', P .. 'bellrock:definitions', from, to, 'LIMIT', 0, ARGV[7])) do
  id = string.match(member, '%z([^%z]*)$')
  found[i] = C('LINDEX', P .. 'bellrock:definition:' .. id, -1)
end
return { 0, #found == tonumber(ARGV[7]) and id or '', found }
