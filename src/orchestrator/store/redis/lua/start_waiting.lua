-- definition, limit, keep, message of those that start, of those that are called off: one step; 1 = there is more. Those to be called off stand in a
-- list of their own, so that a caller that stops half way leaves them to the next one, and who comes meanwhile is not called off with them.
local n = guard()
if n < 0 then return { n } end
local config, t, left = ARGV[4], now(), 100
local queue, holders, called_off = P .. 'orca.pipeline.queue.' .. config, P .. 'bellrock:gate:' .. config, P .. 'bellrock:overtaken:' .. config
local keep = ARGV[6] == '1'

local function next_of(list, command)
  while left > 0 do
    left = left - 1
    local text = C(command, list)
    if not text then return nil end
    local id = cjson.decode(text).executionId
    local k = id and find(id)
    if k then return id, k end
  end
end

while true do
  local id, k = next_of(called_off, 'RPOP')
  if not id then break end
  if C('HGET', k, '_gate') == 'wait ' .. config then
    C('HDEL', k, '_gate')
    deliver(id, ' ', ARGV[8], t)
  end
end
local free = tonumber(ARGV[5]) - C('SCARD', holders)
local starts = free > 0
while free > 0 do
  local id, k = next_of(queue, keep and 'RPOP' or 'LPOP')
  if not id then break end
  C('SADD', holders, id)
  C('HSET', k, '_gate', 'go ' .. config)
  deliver(id, ' ', ARGV[7], t)
  free = free - 1
end
local calls_off = starts and free == 0 and not keep and C('EXISTS', queue) == 1
if calls_off then C('RENAME', queue, called_off) end
settle()
return { n, (calls_off or left == 0) and 1 or 0 }
