-- region:account:group, holder, number, places, lease, '1' = it was granted before; then those whose holders are gone: holder, number …
-- Answers: 1 = granted; who holds what for how long; for how long nothing new is given.
local book, t = P .. 'bellrock:permits:' .. ARGV[4], now()
local holder, number, places, lease, keeps = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'

-- Which life of the server wrote the book last: a replica that takes over, or a server that starts again, has another id, and may lack what was granted.
-- One that does not tell its id to scripts is believed to be what it was.
local told, info = pcall(C, 'INFO', 'replication')
local life = told and type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or '-'
-- No entry is in force for longer than the longest lease that anybody asked for: so long the book is closed and remembered. What ends later was written
-- before the clock was set back.
local written = C('HMGET', P .. 'bellrock:permits', 'life', 'opens', 'longest')
local was, longest = tonumber(written[2] or 0), math.max(tonumber(written[3] or 0), lease)
local opens = was
if written[1] ~= life then
  opens = t + longest
elseif opens > t then
  opens = math.min(opens + longest - tonumber(written[3] or 0), t + longest)
end
if written[1] ~= life or opens ~= was or longest ~= tonumber(written[3]) then
  C('HSET', P .. 'bellrock:permits', 'life', life, 'opens', opens, 'longest', longest)
end

local gone = {}
for i = 10, #ARGV, 2 do gone[ARGV[i]] = ARGV[i + 1] end
local entries, mine, others, held, over = C('HGETALL', book), nil, 0, {}, {}
for i = 1, #entries, 2 do
  local n, till = string.match(entries[i + 1], '^(%d+) (%d+)$')
  till = tonumber(till)
  if till > t + longest then
    till = t + longest
    C('HSET', book, entries[i], string.format('%s %d', n, till))
  end
  if till <= t or gone[entries[i]] == n then
    over[#over + 1] = entries[i]
  else
    if entries[i] == holder then mine = tonumber(n) else others = others + 1 end
    held[#held + 1] = { entries[i], n, tostring(till - t) }
  end
end

local granted
if mine then
  -- A closed book may have again what was given back, and lack who came in its place.
  granted = mine == number or (mine < number and (keeps or t >= opens))
else
  granted = others < places and (keeps or t >= opens)
end
if granted then
  C('HSET', book, holder, string.format('%d %d', number, t + lease))
  C('PEXPIRE', book, longest * 2)
end
for _, one in ipairs(over) do
  if not (granted and one == holder) then C('HDEL', book, one) end
end
return { 0, granted and 1 or 0, held, math.max(0, opens - t) }
