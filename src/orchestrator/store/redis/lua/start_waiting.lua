-- definition, limit, keep, message of those that start, of those that are called off
local n = guard()
if n < 0 then return { n } end
local config, t = ARGV[4], now()
local queue, holders = P .. 'orca.pipeline.queue.' .. config, P .. 'bellrock:gate:' .. config
local keep = ARGV[6] == '1'
local free = tonumber(ARGV[5]) - C('SCARD', holders)
if free <= 0 then return { n } end

local function next_of(command)
  while true do
    local text = C(command, queue)
    if not text then return nil end
    local id = cjson.decode(text).executionId
    local k = id and find(id)
    if k then return id, k end
  end
end

while free > 0 do
  local id, k = next_of(keep and 'RPOP' or 'LPOP')
  if not id then break end
  C('SADD', holders, id)
  C('HSET', k, '_gate', 'go ' .. config)
  deliver(id, ' ', ARGV[7], t)
  free = free - 1
end
while not keep do
  local id, k = next_of('RPOP')
  if not id then break end
  C('HDEL', k, '_gate')
  deliver(id, ' ', ARGV[8], t)
end
settle()
return { n }
