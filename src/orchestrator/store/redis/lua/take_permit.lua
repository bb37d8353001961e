-- group, holder, number, places, lease, '1' = it was granted before; then those whose holders are gone: holder, number …
-- Answers: 1 = granted; who holds what for how long; for how long nothing new is given.
local book, t = P .. 'bellrock:permits:' .. ARGV[4], now()
local holder, number, places, lease, keeps = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'

-- Which life of the server wrote the book last: a replica that takes over, or a server that starts again, has another id, and may lack what was granted.
-- One that does not tell its id to scripts is believed to be what it was.
local told, info = pcall(C, 'INFO', 'replication')
local life = told and type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or '-'
local written = C('HMGET', P .. 'bellrock:permits', 'life', 'opens')
local opens = tonumber(written[2] or 0)
if written[1] ~= life then
  opens = t + lease
  C('HSET', P .. 'bellrock:permits', 'life', life, 'opens', opens)
end

local gone = {}
for i = 10, #ARGV, 2 do gone[ARGV[i]] = ARGV[i + 1] end
local entries, mine, others, held, over = C('HGETALL', book), nil, 0, {}, {}
for i = 1, #entries, 2 do
  local n, till = string.match(entries[i + 1], '^(%d+) (%d+)$')
  if tonumber(till) <= t or gone[entries[i]] == n then
    over[#over + 1] = entries[i]
  else
    if entries[i] == holder then mine = tonumber(n) else others = others + 1 end
    held[#held + 1] = { entries[i], n, tostring(till - t) }
  end
end

local granted
if mine then granted = mine <= number else granted = others < places and (keeps or t >= opens) end
if granted then
  C('HSET', book, holder, string.format('%d %d', number, t + lease))
  C('PEXPIRE', book, lease * 2)
end
for _, one in ipairs(over) do
  if not (granted and one == holder) then C('HDEL', book, one) end
end
return { 0, granted and 1 or 0, held, math.max(0, opens - t) }
